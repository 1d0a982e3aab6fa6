//! What is written is read back, whatever is in it; and no text makes a reader fail in another way than by an error.
use image::cce::{Denial, Document, ImageFacts, Images, Input, Layout, Options, Spec, Template, fragments, policy};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_policy_is_read_back_as_it_was_written(
        command in proptest::collection::vec(any::<String>(), 1..4),
        environment in proptest::collection::vec("[A-Z]{1,8}=\\PC{0,8}", 0..4),
        folder in any::<String>(),
    ) {
        let facts = ImageFacts { layers: vec!["00".repeat(32)], entrypoint: command, environment, folder, ..ImageFacts::default() };
        let images: Images = [("app".to_owned(), facts)].into();
        let policy = policy(&[Spec::of_image("app")], &images, &Options::confcom()).unwrap();
        for layout in [Layout::Compact, Layout::Pretty] {
            let text = policy.text(layout);
            prop_assert!(text.is_ascii());
            let document = Document::parse(&text).unwrap();
            let containers: Vec<_> = document.containers().cloned().collect();
            prop_assert_eq!(serde_json::Value::from(containers), serde_json::to_value(&policy.containers).unwrap());
            prop_assert_eq!(&document.values["fragments"], &serde_json::to_value(&policy.fragments).unwrap());
            prop_assert_eq!(document.rules.len(), 18);
        }
    }

    #[test]
    fn no_text_makes_a_reader_panic(text in any::<String>(), inside in "[\\[\\]{}()',:a-z0-9 \"\\\\/*=#-]{0,60}") {
        for text in [&text, &inside, &format!("package p\n{inside}"), &format!("policyDecision<{inside}>policyDecision")] {
            let _ = Document::parse(text);
            let _ = Denial::parse(text);
            let _ = Input::parse(text);
            let _ = fragments(text);
            let _ = Template::parse(text, Some(text), true);
        }
        // An expression with any text in it, where a template has one.
        let template = serde_json::json!({ "parameters": { "p": { "defaultValue": "x" } }, "resources": [{
            "type": "Microsoft.ContainerInstance/containerGroups",
            "properties": { "containers": [{ "name": "a", "properties": { "image": format!("[{inside}]") } }] }
        }] });
        let _ = Template::parse(&template.to_string(), None, false);
    }
}
