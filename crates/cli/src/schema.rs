//! The JSON schemas of what `--json` shows, made from the types behind it.

use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

use crate::{bench, doctor, ls, stat};

/// Grows when a field goes away or changes its meaning, and then only with the major version of the command.
const VERSION: u32 = 1;

/// Each schema's file name and text.
pub(crate) fn schemas() -> Vec<(&'static str, String)> {
    vec![
        ("bench.schema.json", schema::<bench::Report>("bench")),
        ("doctor.schema.json", schema::<doctor::Report>("doctor")),
        ("ls.schema.json", schema::<ls::Rows>("ls")),
        ("stat.schema.json", schema::<stat::Report>("stat")),
    ]
}

/// Of what is written, so that a field that may be null is still required to be there.
fn schema<T: JsonSchema>(command: &str) -> String {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let generator = settings.with_transform(RecursiveTransform(one_line)).into_generator();
    let mut schema = generator.into_root_schema_for::<T>();
    schema.insert("$id".into(), format!("urn:sysring:schema:{command}:{VERSION}").into());
    format!("{:#}\n", schema.as_value())
}

/// A comment in the source is wrapped where its lines are full, which means nothing here.
fn one_line(schema: &mut Schema) {
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
}
