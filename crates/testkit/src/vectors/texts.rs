//! Our own text vectors: the verdict, the code and the reason must be the expected ones.

use super::{Case, Run, Verdict};
use crate::judge::{KINDS, judge};
use crate::text::{Expect, TextVector, read_folder};
use std::path::Path;

pub(super) fn run(folder: &Path, run: &mut Run<'_>) -> std::io::Result<()> {
    for vector in read_folder(folder)? {
        match vector {
            Ok(vector) => run.tell(&case(&vector)),
            Err(error) => run.error("text", &folder.display().to_string(), error),
        }
    }
    Ok(())
}

fn case(vector: &TextVector) -> Case {
    let kind = KINDS.iter().copied().find(|kind| *kind == vector.kind).unwrap_or("text");
    let expected = if vector.expect == Expect::Ok { Verdict::Accept } else { Verdict::Refuse };
    let (got, code, detail) = match (judge(vector), &vector.expect) {
        (Err(error), _) => (Verdict::Error, None, Some(error)),
        (Ok(Ok(())), _) => (Verdict::Accept, None, None),
        (Ok(Err(refused)), Expect::Refuse { code, reason }) if refused.code == *code && refused.reason == *reason => {
            (Verdict::Refuse, Some(refused.code.to_string()), None)
        }
        (Ok(Err(refused)), wanted) => {
            let detail = format!("{} ({}), wanted {wanted:?}: {}", refused.code, refused.reason, refused.text);
            (Verdict::Refuse, Some(refused.code.to_string()), Some(detail))
        }
    };
    Case { kind, name: vector.name.clone(), expected, got, code, detail }
}
