//! One text of SQL for both databases: what is written for SQLite, in the words of PostgreSQL.
//!
//! *Takes* statements of this crate, which keep to what both read: `?` or `?N` for values, `ON CONFLICT (columns)`, no bare
//! columns beside aggregates, `CAST` around a value that stands alone with `IS NULL`.
//! *Guarantees* that quoted texts stay as they are.
//! *Does not check* that the result is SQL: the database does.

/// The statement for PostgreSQL: numbered parameters; in definitions of tables its types, and texts in the order of bytes.
pub(super) fn for_postgres(sql: &str) -> String {
    let defines = sql.contains("CREATE TABLE");
    let mut out = String::with_capacity(sql.len().saturating_add(64));
    let mut rest = sql;
    let mut number = 0_usize;
    while let Some(first) = rest.chars().next() {
        let word = if first == '\'' {
            quoted(rest)
        } else if first == '?' {
            1_usize.saturating_add(digits(&rest[1..]))
        } else if first.is_ascii_alphabetic() || first == '_' {
            rest.find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').unwrap_or(rest.len())
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(word);
        rest = after;
        match token {
            "?" => {
                number = number.saturating_add(1);
                out.push_str(&format!("${number}"));
            }
            parameter if first == '?' => out.push_str(&format!("${}", &parameter[1..])),
            "INTEGER" => out.push_str("BIGINT"),
            "BLOB" => out.push_str("BYTEA"),
            "TEXT" if defines => out.push_str("TEXT COLLATE \"C\""),
            "STRICT" if defines => rest = rest.strip_prefix(", WITHOUT ROWID").unwrap_or(rest),
            other => out.push_str(other),
        }
    }
    out
}

/// Bytes of the quoted text that `text` begins with.
fn quoted(text: &str) -> usize {
    text[1..].find('\'').map_or(text.len(), |end| end.saturating_add(2))
}

fn digits(text: &str) -> usize {
    text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn parameters_types_and_words_of_tables_are_translated() {
        let both = [
            ("SELECT a FROM t WHERE b = ? AND c = ?", "SELECT a FROM t WHERE b = $1 AND c = $2"),
            ("VALUES (?1, ?2, ?10) -- ?2", "VALUES ($1, $2, $10) -- $2"),
            ("SELECT 'a ? STRICT', 'TEXT', '', ?", "SELECT 'a ? STRICT', 'TEXT', '', $1"),
            (
                "CREATE TABLE t (a TEXT PRIMARY KEY, b BLOB, c INTEGER) STRICT, WITHOUT ROWID;",
                "CREATE TABLE t (a TEXT COLLATE \"C\" PRIMARY KEY, b BYTEA, c BIGINT) ;",
            ),
            ("CREATE TABLE t (a INTEGER) STRICT", "CREATE TABLE t (a BIGINT) "),
            ("SELECT CAST(? AS INTEGER), CAST(? AS TEXT)", "SELECT CAST($1 AS BIGINT), CAST($2 AS TEXT)"),
        ];
        for (sqlite, postgres) in both {
            assert_eq!(for_postgres(sqlite), postgres);
        }
    }

    /// Statements that only SQLite reads would be found at run time, on PostgreSQL, by whoever uses it.
    #[test]
    fn no_statement_of_this_crate_is_for_sqlite_alone() {
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                if path.file_name().unwrap() == "dialect.rs" {
                    continue;
                }
                files += 1;
                let text = std::fs::read_to_string(&path).unwrap();
                for word in ["ON CONFLICT DO UPDATE", "INSERT OR ", "REPLACE INTO", "AUTOINCREMENT", "ifnull("] {
                    assert!(!text.contains(word), "{}: PostgreSQL does not know `{word}`", path.display());
                }
            }
        }
        assert!(files > 30, "{files}");
    }
}
