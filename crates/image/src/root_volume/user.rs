//! The image's user as numbers.

use super::UserError;
use crate::overlay::resolve;
use claims::workload::User;
use sealed::ext4::Sources;
use sealed::tree::{Content, Kind, Tree};

/// Longest `/etc/passwd` or `/etc/group` that is read.
const TEXT_LIMIT: u64 = 1 << 20;

/// A text file of the merged tree; a missing or over-long one is empty.
pub(super) fn read_text(tree: &Tree, sources: &dyn Sources, path: &str) -> String {
    let found = resolve(tree, path.as_bytes()).and_then(|path| match tree.get(&path) {
        Some((_, Kind::File(content))) if content.len() <= TEXT_LIMIT => Some(content.clone()),
        _ => None,
    });
    let bytes = match found {
        Some(Content::Inline(bytes)) => bytes.to_vec(),
        Some(Content::Source { source, offset, length }) => {
            let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
            match sources.read(source, offset, &mut bytes) {
                Ok(()) => bytes,
                Err(_) => Vec::new(),
            }
        }
        Some(Content::Zeros(_)) | None => Vec::new(),
    };
    String::from_utf8_lossy(&bytes).into_owned()
}

/// As container engines do: empty is root; a number need not be in the files; without a group the user's own group
/// and all that list the user are taken.
pub(super) fn resolve_user(text: &str, passwd: &str, group: &str) -> Result<User, UserError> {
    let (name, group_name) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let number: Option<u32> = name.parse().ok();
    let known = passwd.lines().find_map(|line| {
        let [login, _, uid, gid, ..] = line.split(':').collect::<Vec<_>>()[..] else { return None };
        let (uid, gid) = (uid.parse::<u32>().ok()?, gid.parse::<u32>().ok()?);
        // A name wins over a number, as engines look for either in the same line.
        (login == name || Some(uid) == number).then(|| (login.to_owned(), uid, gid))
    });
    let (login, uid, gid) = match (known, number) {
        (Some((login, uid, gid)), _) => (Some(login), uid, gid),
        (None, Some(uid)) => (None, uid, 0),
        (None, None) => return Err(UserError::User { name: name.to_owned() }),
    };
    let groups = group.lines().filter_map(|line| {
        let [title, _, gid, members] = line.split(':').collect::<Vec<_>>()[..] else { return None };
        Some((title, gid.parse::<u32>().ok()?, members))
    });
    if let Some(wanted) = group_name {
        let found = groups.clone().find(|(title, gid, _)| *title == wanted || wanted.parse() == Ok(*gid));
        let gid = found.map(|(_, gid, _)| gid).or_else(|| wanted.parse().ok());
        let gid = gid.ok_or_else(|| UserError::Group { name: wanted.to_owned() })?;
        return Ok(User { uid, gid, groups: Vec::new() });
    }
    let mut others: Vec<u32> = groups
        .filter(|(_, _, members)| login.as_deref().is_some_and(|login| members.split(',').any(|one| one == login)))
        .map(|(_, gid, _)| gid)
        .filter(|other| *other != gid)
        .collect();
    others.sort_unstable();
    others.dedup();
    Ok(User { uid, gid, groups: others })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nweb:x:33:44:w:/w:/bin/sh\n1000:x:5:6::/:\n";
    const GROUP: &str = "root:x:0:\nweb:x:44:\nlog:x:4:web,other\nshort:x\nadm:x:9:other,web\n";

    fn user(text: &str) -> Result<(u32, u32, Vec<u32>), UserError> {
        resolve_user(text, PASSWD, GROUP).map(|user| (user.uid, user.gid, user.groups))
    }

    #[test]
    fn names_and_numbers() {
        assert_eq!(user(""), Ok((0, 0, vec![])));
        assert_eq!(user("web"), Ok((33, 44, vec![4, 9])));
        assert_eq!(user("33"), Ok((33, 44, vec![4, 9])));
        assert_eq!(user("web:log"), Ok((33, 4, vec![])));
        assert_eq!(user("7:8"), Ok((7, 8, vec![])));
        assert_eq!(user("77"), Ok((77, 0, vec![])));
        assert_eq!(user("1000"), Ok((5, 6, vec![])));
        assert_eq!(user("nobody"), Err(UserError::User { name: "nobody".into() }));
        assert_eq!(user("web:none"), Err(UserError::Group { name: "none".into() }));
    }
}
