//! What an answer of a KV engine may look like, and what it must not.

use super::*;

const FIELD: &str = "data";

fn read(levels: u8, body: &str) -> Option<Entry> {
    Level { field: FIELD, levels }.read(body.as_bytes())
}

fn value(levels: u8, body: &str) -> Option<Vec<u8>> {
    read(levels, body)?.value.map(|member| member.0.to_vec())
}

#[test]
fn a_value_is_found_in_its_place_only() {
    let two = r#"{"data":{"metadata":{"version":3},"data":{"x":[1,{"data":"no"}],"data":"a\u0062"}},"warnings":null}"#;
    assert_eq!(value(2, two).as_deref(), Some(b"ab".as_slice()));
    assert!(read(2, two).is_some_and(|entry| entry.others && entry.metadata.is_some_and(|facts| facts.version == 3)));
    assert_eq!(value(1, r#"{"data":{"data":[0,255]}}"#).as_deref(), Some([0, 255].as_slice()));
    let gone = read(2, r#"{"data":{"data":null,"metadata":{"version":1,"destroyed":true}}}"#);
    assert!(gone.is_some_and(|entry| entry.value.is_none() && entry.metadata.is_some_and(|facts| facts.destroyed)));
    assert!(read(1, r#"{"data":null}"#).is_some_and(|entry| entry.value.is_none()), "an entry without the member");
    for bad in [
        "",
        "{}",
        "[]",
        "null",
        r#"{"data":{"data":17}}"#,
        r#"{"data":{"data":[256]}}"#,
        r#"{"data":{"data":["a"]}}"#,
        r#"{"data":{"data":{"data":"a"}}}"#,
        r#"{"data":{"data":"a","data":"b"}}"#,
        r#"{"data":{"data":"a"},"data":{"data":"b"}}"#,
        r#"{"data":{"data":"a"}} x"#,
    ] {
        assert!(read(1, bad).is_none(), "{bad}");
    }
}

#[test]
fn damage_never_panics() {
    let sound = r#"{"data":{"data":{"data":"a\u0062","x":[1,[2]]},"metadata":{"version":3,"deletion_time":""}}}"#;
    for place in 0..sound.len() {
        let _ = Level { field: FIELD, levels: 2 }.read(&sound.as_bytes()[..place]);
        for byte in [0, b'"', b'{', b']', b'\\', 0xff] {
            let mut spoilt = sound.as_bytes().to_vec();
            spoilt[place] = byte;
            let _ = Level { field: FIELD, levels: 2 }.read(&spoilt);
        }
    }
    let deep = format!(r#"{{"data":{{"x":{}{},"data":"a"}}}}"#, "[".repeat(1 << 20), "]".repeat(1 << 20));
    assert_eq!(value(1, &deep).as_deref(), Some(b"a".as_slice()), "what is skipped may be deep");
}
