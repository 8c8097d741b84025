//! What `--json` shows is what the published schemas say.

use std::fs;

use jsonschema::Validator;
use serde_json::{Value, json};
use sysring::segment::Segment;

use crate::support::{Name, Running, run, run_with, until};

fn published(command: &str) -> Value {
    let path = format!("{}/share/schema/{command}.schema.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// The published schema without room for fields that it does not name: whoever reads must bear new ones, but what is
/// written is all described.
fn strict(command: &str) -> Validator {
    fn close(schema: &mut Value) {
        match schema {
            Value::Object(object) => {
                object.values_mut().for_each(close);
                if object.get("type").is_some_and(|kind| kind == "object") {
                    assert!(object.insert("additionalProperties".into(), false.into()).is_none());
                }
            }
            Value::Array(values) => values.iter_mut().for_each(close),
            _ => {}
        }
    }
    let mut schema = published(command);
    jsonschema::meta::validate(&schema).unwrap();
    close(&mut schema);
    jsonschema::validator_for(&schema).unwrap()
}

#[track_caller]
fn valid(schema: &Validator, value: &Value) {
    let errors: Vec<String> =
        schema.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert!(errors.is_empty(), "{errors:#?} in {value:#}");
}

/// Every field says what it is.
fn described(schema: &Value, path: &str) {
    if let Some(fields) = schema["properties"].as_object() {
        for (name, field) in fields {
            let text = field["description"].as_str().unwrap_or_default();
            assert!(text.len() > 5 && !text.contains('\n'), "{path}.{name}: {text:?}");
        }
        let required = schema["required"].as_array().unwrap();
        assert_eq!(required.len(), fields.len(), "{path}: what may be null is there all the same");
    }
    if let Some(definitions) = schema["$defs"].as_object() {
        definitions.iter().for_each(|(name, definition)| described(definition, name));
    }
}

/// Writes a word into a channel of two senders with 4 KiB each.
fn spoil(name: &Name, offset: usize, word: u64) {
    let id = name.stat()["id"].as_i64().unwrap();
    Segment::from_id(id as i32).attach().unwrap().write(offset, &word.to_le_bytes()).unwrap();
}

const SMALL: [&str; 4] = ["--senders", "2", "--capacity", "4KiB"];
const MAGIC: usize = 0;
const VERSION: usize = 8;
const DAMAGE: usize = 4352 + 408;

#[test]
fn each_has_a_name_and_explains_its_fields() {
    for command in ["stat", "ls", "doctor"] {
        let schema = published(command);
        assert_eq!(schema["title"], format!("sysring {command} --json"));
        assert_eq!(schema["$id"], format!("urn:sysring:schema:{command}:1"));
        described(&schema, command);
        assert!(!schema.to_string().contains("additionalProperties"), "readers must bear new fields");
    }
}

#[test]
fn stat_in_every_state() {
    let schema = strict("stat");
    let name = Name::create(&SMALL);
    let empty = name.stat();
    assert_eq!(empty["state"], "idle");
    valid(&schema, &empty);

    let sender = Running::with_input(&["send", name.str()], "x\n".repeat(10_000));
    until("the sender sleeps", || name.stat()["senders"][0]["asleep"] == true);
    let blocked = name.stat();
    assert_eq!(blocked["waits"][0]["waits_for"], "room");
    valid(&schema, &blocked);

    let receiver = Running::start(&["recv", name.str(), "--follow"]);
    sender.wait().quiet(0);
    until("the receiver sleeps", || name.stat()["receiver"]["asleep"] == true);
    let used = name.stat();
    assert_eq!((&used["state"], &used["waits"][0]["who"]), (&"in-use".into(), &"receiver".into()));
    valid(&schema, &used);
    drop(receiver);

    spoil(&name, DAMAGE, 1);
    let damaged = name.stat();
    assert_eq!((&damaged["state"], &damaged["senders"][0]["corrupt_at"]), (&"damaged".into(), &0.into()));
    valid(&schema, &damaged);

    let single = Name::create(&["--spsc", "--no-persistent", "--capacity", "4KiB"]);
    valid(&schema, &single.stat());

    // It can say no.
    for spoilt in
        [json!({}), with(&empty, "kind", json!("both")), with(&empty, "new", json!(1)), json!([empty])]
    {
        assert!(!schema.is_valid(&spoilt), "{spoilt}");
    }
}

/// The same with another field.
fn with(value: &Value, field: &str, other: Value) -> Value {
    let mut value = value.clone();
    value[field] = other;
    value
}

#[test]
fn ls_with_channels_that_cannot_be_read() {
    let schema = strict("ls");
    let good = Name::create(&SMALL);
    run_with(&["send", good.str()], "x\n").quiet(0);
    let half = Name::create(&SMALL);
    let foreign = Name::create(&SMALL);
    let ids = [&half, &foreign].map(|name| name.stat()["id"].clone());
    spoil(&half, MAGIC, 0);
    let segment = Segment::from_id(ids[1].as_i64().unwrap() as i32).attach().unwrap();
    let mut version = [0; 8];
    segment.read(VERSION, &mut version).unwrap();
    segment.write(VERSION, &(77 << 32 | 0x0102_0304_u64).to_le_bytes()).unwrap();
    let all: Value = serde_json::from_str(&run(&["ls", "--json"]).ok()).unwrap();
    segment.write(VERSION, &version).unwrap(); // so that it can be removed by its name
    valid(&schema, &all);
    let row = |id: &Value| all.as_array().unwrap().iter().find(|row| row["id"] == *id).unwrap();
    assert_eq!(row(&ids[0])["state"], "half-made");
    assert_eq!(row(&ids[1])["state"], "unreadable");
    assert!(row(&ids[1])["problem"].is_string() && row(&ids[1])["messages"].is_null());
    assert!(all.as_array().unwrap().iter().any(|row| row["name"] == good.str() && row["messages"] == 1));
    assert!(!schema.is_valid(&json!([{}])));
}

#[test]
fn doctor() {
    let ended = run(&["doctor", "--json"]);
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    let schema = strict("doctor");
    valid(&schema, &report);
    assert!(!schema.is_valid(&with(&report, "status", json!("fine"))));
}
