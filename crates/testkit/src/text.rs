//! Our text vectors: one file is one case, with everything its verifier needs. `vectors/README.md` has the format.
//!
//! *Takes* text, and the files of `shared/` that it names. *Guarantees* that what is printed reads back as the same
//! vector, and that nothing unknown is passed over. *Does not check* the case: [`crate::judge`] does.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::Code;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextVector {
    /// Its name; the file is called after it.
    pub name: String,
    /// Which verifier: a folder's name.
    pub kind: String,
    /// Document and section of the rule that is broken or kept.
    pub spec: String,
    /// What is done to the evidence.
    pub about: String,
    /// What the verifier must say.
    pub expect: Expect,
    /// Verification time, seconds since 1970.
    pub now: u64,
    /// Evidence, collateral and what is wanted, by name; a name may come more than once.
    pub fields: Vec<(String, Vec<u8>)>,
}

/// What the verifier must say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expect {
    /// It accepts.
    Ok,
    /// It refuses.
    Refuse {
        /// With this code.
        code: Code,
        /// For this reason: the variant of our error type. Other implementations may pass over it.
        reason: String,
    },
}

impl TextVector {
    /// The first field of this name.
    pub fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, bytes)| bytes.as_slice())
    }

    /// Every field of this name.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |(other, _)| other == name).map(|(_, bytes)| bytes.as_slice())
    }

    /// The first field of this name, as text.
    pub fn text(&self, name: &str) -> Result<Option<&str>, String> {
        self.bytes(name).map(std::str::from_utf8).transpose().map_err(|_| format!("{name} is not text"))
    }

    /// Parses a vector; `shared` reads a file of the folder `shared`.
    pub fn parse(text: &str, shared: &dyn Fn(&str) -> Result<Vec<u8>, String>) -> Result<Self, String> {
        let mut lines = text.lines().peekable();
        let mut head = |wanted: &str| -> Result<String, String> {
            let line = lines.next().ok_or_else(|| format!("`{wanted}` is missing"))?;
            let value = line.strip_prefix(wanted).and_then(|rest| rest.strip_prefix(": "));
            value.map(str::to_owned).ok_or_else(|| format!("`{wanted}: …` is wanted instead of `{line}`"))
        };
        let (name, kind, spec, about) = (head("name")?, head("kind")?, head("spec")?, head("about")?);
        let expect = match head("expect")?.as_str() {
            "ok" => Expect::Ok,
            code => Expect::Refuse {
                code: code.parse().map_err(|error: claims::codes::UnknownCode| error.to_string())?,
                reason: head("reason")?,
            },
        };
        let now = head("now")?.parse().map_err(|_| "`now` is no number".to_owned())?;
        if lines.next() != Some("") {
            return Err("an empty line is wanted behind `now`".to_owned());
        }
        let mut fields = Vec::new();
        while let Some(line) = lines.next() {
            let (form, rest) = line.split_once(' ').ok_or_else(|| format!("`{line}` is no field"))?;
            let (name, value) = rest.split_once(':').ok_or_else(|| format!("`{line}` is no field"))?;
            let value = value.strip_prefix(' ').unwrap_or(value);
            let wrong = |what: &str| format!("{name}: {what}");
            let bytes = match form {
                "text" => value.as_bytes().to_vec(),
                "hex" => hex::decode(value).map_err(|_| wrong("not hex"))?,
                "base64" => {
                    let mut digits = String::new();
                    while let Some(more) = lines.next_if(|line| line.starts_with(' ')) {
                        digits.push_str(more.trim_start());
                    }
                    STANDARD.decode(digits).map_err(|_| wrong("not base64"))?
                }
                "file" => {
                    let name = value.strip_prefix("shared/").filter(|name| name.chars().all(|c| c.is_ascii_hexdigit()));
                    shared(name.ok_or_else(|| wrong("not a file of shared/"))?)?
                }
                _ => return Err(wrong("neither text, hex, base64 nor file")),
            };
            fields.push((name.to_owned(), bytes));
        }
        Ok(Self { name, kind, spec, about, expect, now, fields })
    }

    /// Prints it; what `shared` holds is named by its file.
    pub fn print(&self, shared: &BTreeMap<String, Vec<u8>>) -> String {
        let Self { name, kind, spec, about, now, .. } = self;
        let mut text = format!("name: {name}\nkind: {kind}\nspec: {spec}\nabout: {about}\n");
        // Writing to a string cannot fail.
        let _ = match &self.expect {
            Expect::Ok => writeln!(text, "expect: ok"),
            Expect::Refuse { code, reason } => writeln!(text, "expect: {code}\nreason: {reason}"),
        };
        let _ = writeln!(text, "now: {now}\n");
        for (name, bytes) in &self.fields {
            let plain = std::str::from_utf8(bytes).ok().filter(|text| text.chars().all(|c| matches!(c, ' '..='~')));
            let file = shared_name(bytes);
            let _ = match plain {
                _ if shared.contains_key(&file) => writeln!(text, "file {name}: shared/{file}"),
                Some(plain) if plain.len() <= 100 && plain.trim() == plain => writeln!(text, "text {name}: {plain}"),
                _ if bytes.len() <= 64 => writeln!(text, "hex {name}: {}", hex::encode(bytes)),
                _ => {
                    let digits = STANDARD.encode(bytes);
                    let _ = writeln!(text, "base64 {name}:");
                    digits
                        .as_bytes()
                        .chunks(100)
                        .try_for_each(|line| writeln!(text, " {}", String::from_utf8_lossy(line)))
                }
            };
        }
        text
    }
}

/// The files of a folder of vectors, by path: what several vectors hold stands in `shared` once.
pub fn files(vectors: &[TextVector]) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut uses: BTreeMap<&[u8], usize> = BTreeMap::new();
    for (_, bytes) in vectors.iter().flat_map(|vector| &vector.fields) {
        *uses.entry(bytes).or_default() += 1;
    }
    let often = uses.into_iter().filter(|(bytes, uses)| *uses > 1 && bytes.len() >= SHARED_FROM);
    let shared: BTreeMap<String, Vec<u8>> = often.map(|(bytes, _)| (shared_name(bytes), bytes.to_vec())).collect();
    let texts = vectors.iter().map(|vector| {
        (PathBuf::from(&vector.kind).join(format!("{}.txt", vector.name)), vector.print(&shared).into_bytes())
    });
    let shared = shared.iter().map(|(name, bytes)| (Path::new("shared").join(name), bytes.clone()));
    texts.chain(shared).collect()
}

/// Reads every vector of a folder, in the order of their paths.
pub fn read_folder(folder: &Path) -> io::Result<Vec<Result<TextVector, String>>> {
    let shared = |name: &str| {
        let path = folder.join("shared").join(name);
        fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    Ok(text_files(folder)?
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
            TextVector::parse(&text, &shared).map_err(|error| format!("{}: {error}", path.display()))
        })
        .collect())
}

/// Whether a folder holds text vectors: then it has our `shared` and a page about the format.
pub fn is_folder(folder: &Path) -> bool {
    folder.join("shared").is_dir() && folder.join("README.md").is_file()
}

fn text_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for kind in fs::read_dir(folder)? {
        let kind = kind?.path();
        if !kind.is_dir() {
            continue;
        }
        for entry in fs::read_dir(kind)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "txt") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Shorter fields are repeated rather than shared.
const SHARED_FROM: usize = 128;

/// The first 16 hex digits of the SHA-256.
fn shared_name(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    hex::encode(digest.as_ref().get(..8).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_reads_back_and_nothing_unknown_passes() {
        let vector = TextVector {
            name: "one".to_owned(),
            kind: "snp".to_owned(),
            spec: "table 1".to_owned(),
            about: "a case".to_owned(),
            expect: Expect::Refuse { code: Code::SnpDebug, reason: "Debug".to_owned() },
            now: 7,
            fields: vec![
                ("a".to_owned(), b"words".to_vec()),
                ("b".to_owned(), vec![0; 64]),
                ("c".to_owned(), vec![1; 300]),
                ("c".to_owned(), Vec::new()),
                ("d".to_owned(), b" edge".to_vec()),
            ],
        };
        let other = TextVector { name: "two".to_owned(), expect: Expect::Ok, ..vector.clone() };
        let files = files(&[vector.clone(), other.clone()]);
        assert_eq!(files.len(), 3, "two vectors and what they share: {:?}", files.keys());
        let shared = |name: &str| Ok(files[&Path::new("shared").join(name)].clone());
        for wanted in [vector, other] {
            let text = String::from_utf8(files[&PathBuf::from(format!("snp/{}.txt", wanted.name))].clone()).unwrap();
            assert_eq!(TextVector::parse(&text, &shared), Ok(wanted));
            assert!(TextVector::parse(&text.replace("now: 7", "when: 7"), &shared).is_err());
            assert!(TextVector::parse(&format!("{text}odd x: 1\n"), &shared).is_err());
            assert!(TextVector::parse(&format!("{text}file x: ../secret\n"), &shared).is_err());
        }
    }
}
