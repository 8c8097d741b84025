//! Relative links and pictures lead to something that is there.

use std::path::Path;

use crate::{CHAPTERS, docs, read};

/// What stands in `](...)` outside of code, without a title.
fn targets(text: &str) -> Vec<String> {
    let mut code = false;
    let mut targets = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            code = !code;
        }
        if !code {
            let ends = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
            targets.extend(ends.map(|(target, _)| target.to_owned()));
        }
    }
    targets
}

/// As GitHub and mdbook make it of a heading.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|char| char.is_alphanumeric() || matches!(char, ' ' | '-' | '_'));
    kept.map(|char| if char == ' ' { '-' } else { char }).collect()
}

fn anchors(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    let mut pictures = Vec::new();
    for chapter in CHAPTERS {
        for target in targets(&read(chapter)) {
            if target.starts_with("https://") {
                continue;
            }
            let (file, fragment) = target.split_once('#').unwrap_or((&target, ""));
            let path = if file.is_empty() { docs().join(chapter) } else { docs().join(file) };
            let there = path.is_file()
                && (fragment.is_empty()
                    || anchors(&std::fs::read_to_string(&path).unwrap())
                        .iter()
                        .any(|anchor| anchor == fragment));
            if !there {
                broken.push(format!("docs/{chapter}: {target}"));
            }
            pictures.extend(Path::new(file).extension().filter(|end| *end == "svg").map(|_| file.to_owned()));
        }
    }
    assert!(broken.is_empty(), "broken links:\n{}", broken.join("\n"));
    for picture in crate::pictures::all() {
        let name = format!("pictures/{}", picture.file_name().unwrap().to_str().unwrap());
        assert!(pictures.contains(&name), "no chapter shows {name}");
    }
}

#[test]
fn anchors_are_made_as_github_makes_them() {
    assert_eq!(anchor(" When a receiver dies: `kill -9`"), "when-a-receiver-dies-kill--9");
    assert_eq!(targets("[a](b.md#c) ![d](e.svg)\n```\n[x](y)\n```\n"), ["b.md#c", "e.svg"]);
}
