//! `confide aci policy`.

use super::images::Archives;
use super::{code_json, decoded, document, one_group, refused, text};
use crate::Context;
use crate::args::AciPolicyArgs;
use crate::outcome::{self, Failure, Outcome, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use claims::Code;
use image::cce::{
    self, ApiVersion, Difference, Document, Fragment, Group, Input, Layout, Lint, Options, Policy, Spec, Template,
};
use serde_json::{Value, json};
use std::path::Path;

/// Runs the command.
pub(super) fn run(args: &AciPolicyArgs, context: &Context) -> Result {
    let source = Source::read(args)?;
    if args.print_existing_policy {
        return print_existing(&source, args, context);
    }
    let made = source.policies(args, context)?;
    for lint in made.iter().flat_map(|one| &one.lints) {
        let page = lint.code.page();
        context
            .printer
            .warn(format!("{}: {} [{}]\n  risk: {}\n  fix: {}", lint.place, lint.what, lint.code, page.risk, page.fix));
    }
    let findings = made.iter().map(|one| one.lints.len()).sum::<usize>();
    if args.strict && findings > 0 {
        return Err(Failure::refused(format!("{findings} findings, and --strict refuses them")).code(Code::CceFindings));
    }
    if args.diff {
        return differences(&made, context);
    }
    write(&source, &made, args, context)?;
    print(&made, args, context)?;
    Ok(Outcome::Done)
}

/// What the policy is made from.
enum Source {
    Template { text: String, template: Template },
    Containers { name: String, containers: Vec<Spec>, fragments: Vec<Fragment> },
}

/// One policy to make.
struct Wanted<'a> {
    name: &'a str,
    group: Option<&'a Group>,
    containers: &'a [Spec],
    fragments: &'a [Fragment],
}

/// A policy with what is to be said about it.
struct Made<'a> {
    name: &'a str,
    group: Option<&'a Group>,
    policy: Policy,
    text: String,
    existing: Option<Document>,
    lints: Vec<Lint>,
}

impl Source {
    fn read(args: &AciPolicyArgs) -> Result<Self> {
        if let Some(path) = &args.template_file {
            let parameters = args.parameters.as_deref().map(text).transpose()?;
            let text = text(path)?;
            // A policy that is there is read without the variables that are not given.
            let wildcards = args.approve_wildcards || args.print_existing_policy;
            let template = Template::parse(&text, parameters.as_deref(), wildcards);
            let template = template.map_err(|error| refused(format!("cannot read {}", path.display()), error))?;
            return Ok(Self::Template { text, template });
        }
        if let Some(path) = &args.input {
            let input = Input::parse(&text(path)?);
            let input = input.map_err(|error| refused(format!("cannot read {}", path.display()), error))?;
            let name = path.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            return Ok(Self::Containers { name, containers: input.containers, fragments: input.fragments });
        }
        let references: Vec<String> = args
            .image
            .iter()
            .map(|option| option.split_once('=').map_or(option.as_str(), |(reference, _)| reference).to_owned())
            .collect();
        match references.is_empty() {
            true => Err(Failure::usage("there is nothing to make a policy from")
                .hint("name a template (-a FILE), an input (-i FILE) or images (--image REF=ARCHIVE)")),
            false => Ok(Self::Containers {
                name: "images".to_owned(),
                containers: cce::image_list(&references),
                fragments: Vec::new(),
            }),
        }
    }

    fn policies(&self, args: &AciPolicyArgs, context: &Context) -> Result<Vec<Made<'_>>> {
        let wanted = self.wanted(args)?;
        let specs: Vec<&Spec> = wanted.iter().flat_map(|wanted| wanted.containers).collect();
        let images = Archives::of(args)?.facts(&specs, context)?;
        let layout = if args.outraw_pretty_print { Layout::Pretty } else { Layout::Compact };
        let further = args.fragments_json.as_deref().map(fragment_file).transpose()?.unwrap_or_default();
        let mut made = Vec::new();
        for Wanted { name, group, containers, fragments } in wanted {
            let mut options = options(args, group);
            options.fragments = fragments.iter().chain(&further).cloned().collect();
            let policy = cce::policy(containers, &images, &options);
            let policy = policy.map_err(|error| refused(format!("cannot make the policy of `{name}`"), error))?;
            let existing = existing(group, args)?;
            let mut lints = cce::lint(&policy, containers, &images);
            let open = match &existing {
                Some(existing) => existing.allows_all(),
                None => args.diff,
            };
            if open {
                let what = "the template's policy is empty, or answers every request with yes".to_owned();
                lints.push(Lint { code: Code::CceAllowAll, place: "the group".to_owned(), what });
            }
            let text = policy.text(layout);
            made.push(Made { name, group, policy, text, existing, lints });
        }
        Ok(made)
    }

    fn wanted(&self, args: &AciPolicyArgs) -> Result<Vec<Wanted<'_>>> {
        let template = match self {
            Self::Template { template, .. } => template,
            Self::Containers { name, containers, fragments } => {
                return Ok(vec![Wanted { name, group: None, containers, fragments }]);
            }
        };
        let all = args.group.is_none() && (args.in_place || args.output.is_some() || args.diff);
        let groups = match all {
            true => template.groups.iter().collect(),
            false => vec![one_group(template, args.group.as_deref())?],
        };
        let mut wanted = Vec::new();
        for group in groups {
            let containers = &group.containers;
            wanted.push(Wanted { name: &group.name, group: Some(group), containers, fragments: &[] });
        }
        Ok(wanted)
    }
}

fn options(args: &AciPolicyArgs, group: Option<&Group>) -> Options {
    let usual = Options::confcom();
    let without = args.exclude_default_fragments || group.is_some_and(|group| group.zero_sidecar);
    Options {
        debug: args.debug_mode,
        stdio: !args.disable_stdio,
        id: !args.omit_id,
        drop_environment: !args.no_environment_dropping,
        identity_endpoints: args.identity_endpoints,
        infrastructure_svn: args.infrastructure_svn.clone().or(usual.infrastructure_svn).filter(|_| !without),
        fragments: Vec::new(),
        api_version: if args.api_version == "0.10.0" { ApiVersion::V0_10 } else { ApiVersion::V0_11 },
    }
}

fn fragment_file(path: &Path) -> Result<Vec<Fragment>> {
    cce::fragments(&text(path)?).map_err(|error| refused(format!("cannot read {}", path.display()), error))
}

/// The policy that the template has. One that cannot be read matters only to those who compare with it.
fn existing(group: Option<&Group>, args: &AciPolicyArgs) -> Result<Option<Document>> {
    let path = args.template_file.as_deref().unwrap_or(Path::new("the template"));
    let Some(encoded) = group.and_then(|group| group.existing.as_deref()) else { return Ok(None) };
    let read = decoded(encoded, path).and_then(|text| document(&text, path));
    if args.diff { read.map(Some) } else { Ok(read.ok()) }
}

fn print_existing(source: &Source, args: &AciPolicyArgs, context: &Context) -> Result {
    let Source::Template { template, .. } = source else { return Ok(Outcome::Done) };
    let path = args.template_file.as_deref().unwrap_or(Path::new("the template"));
    let group = one_group(template, args.group.as_deref())?;
    let none = || Failure::refused(format!("group `{}` has no policy", group.name)).code(Code::CceAllowAll);
    let text = decoded(group.existing.as_deref().ok_or_else(none)?, path)?;
    let host_data = cce::host_data(text.as_bytes());
    context.printer.say(format!("{}: {} bytes, host data {host_data}", group.name, text.len()));
    if context.printer.json() {
        let answer = json!({ "group": group.name, "host_data": host_data, "size": text.len(), "policy": text });
        context.printer.data(&answer, String::new);
    } else {
        context.printer.bytes(text.as_bytes());
    }
    Ok(Outcome::Done)
}

fn differences(made: &[Made<'_>], context: &Context) -> Result {
    let mut all = Vec::new();
    let mut lines = Vec::new();
    let mut open = false;
    for one in made {
        open |= one.lints.iter().any(|lint| lint.code == Code::CceAllowAll);
        let Some(existing) = &one.existing else { continue };
        let now = document(&one.text, Path::new("the new policy"))?;
        for Difference { container, field, got, wanted } in cce::compare(existing, &now) {
            let field = if field.is_empty() { String::new() } else { format!(", {field}") };
            lines.push(format!("{}: {container}{field}\n  template  {got}\n  policy    {wanted}", one.name));
            let field = field.trim_start_matches(", ");
            all.push(
                json!({ "group": one.name, "container": container, "field": field, "got": got, "wanted": wanted }),
            );
        }
    }
    let covered = all.is_empty() && !open;
    let code = match (covered, open) {
        (true, _) => None,
        (_, true) => Some(Code::CceAllowAll),
        _ => Some(Code::CceDiff),
    };
    let answer = json!({ "covered": covered, "code": code.map(Code::name), "differences": all });
    context.printer.data(&answer, || match code {
        None => "the policy in the template covers its containers".to_owned(),
        Some(code) => {
            lines.push(format!("{}: {}", code, code.page().title));
            lines.join("\n")
        }
    });
    Ok(if covered { Outcome::Done } else { Outcome::Refused })
}

/// Writes what is asked for.
fn write(source: &Source, made: &[Made<'_>], args: &AciPolicyArgs, context: &Context) -> Result<()> {
    let mut files: Vec<(&Path, Vec<u8>)> = Vec::new();
    let target = args.output.as_deref().or(args.template_file.as_deref().filter(|_| args.in_place));
    if let (Some(path), Source::Template { text, .. }) = (target, source) {
        let policies: Vec<(&Group, &[u8])> =
            made.iter().filter_map(|one| Some((one.group?, one.text.as_bytes()))).collect();
        let changed = cce::insert(text, &policies);
        let changed = changed.map_err(|error| refused("cannot put the policy into the template", error))?;
        files.push((path, changed.into_bytes()));
    }
    if let (Some(path), [one]) = (&args.save_to_file, made) {
        files.push((path, one.text.clone().into_bytes()));
    }
    for (path, bytes) in files {
        match args.dry_run {
            true => context.printer.say(format!("would write {}", path.display())),
            false => outcome::write(path, &bytes)?,
        }
    }
    Ok(())
}

fn print(made: &[Made<'_>], args: &AciPolicyArgs, context: &Context) -> Result<()> {
    let written = args.in_place || args.output.is_some() || args.save_to_file.is_some();
    for one in made {
        let digest = cce::host_data(one.text.as_bytes());
        context.printer.say(format!("{}: {} bytes, host data {digest}", one.name, one.text.len()));
    }
    if context.printer.json() {
        let answers: Vec<Value> = made.iter().map(answer).collect();
        match answers.as_slice() {
            [answer] => context.printer.data(answer, String::new),
            several => context.printer.data(&json!({ "groups": several }), String::new),
        }
    } else if let ([one], false) = (made, written) {
        match args.print_policy {
            true => context.printer.data(&Value::Null, || STANDARD.encode(&one.text)),
            false => context.printer.bytes(one.text.as_bytes()),
        }
    }
    Ok(())
}

fn answer(one: &Made<'_>) -> Value {
    let lint = |lint: &Lint| {
        let mut page = code_json(lint.code);
        if let Some(page) = page.as_object_mut() {
            page.insert("place".to_owned(), lint.place.clone().into());
            page.insert("what".to_owned(), lint.what.clone().into());
        }
        page
    };
    json!({
        "group": one.name, "host_data": cce::host_data(one.text.as_bytes()), "size": one.text.len(),
        "policy": one.text, "cce_policy": STANDARD.encode(&one.text),
        "api_version": one.policy.api_version, "framework_version": one.policy.framework_version,
        "fragments": one.policy.fragments, "containers": one.policy.containers,
        "findings": one.lints.iter().map(lint).collect::<Vec<_>>(),
    })
}
