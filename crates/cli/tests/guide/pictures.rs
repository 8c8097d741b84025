//! Every picture can be read by everybody: by people who see it on a dark page, small, or not at all.

use std::path::PathBuf;

use roxmltree::{Document, Node};

use crate::docs;

pub(crate) fn all() -> Vec<PathBuf> {
    let pictures = std::fs::read_dir(docs().join("pictures")).unwrap();
    let mut pictures: Vec<PathBuf> = pictures.map(|entry| entry.unwrap().path()).collect();
    pictures.sort();
    pictures
}

/// What is wrong with a picture.
fn faults(text: &str) -> Vec<String> {
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => return vec![error.to_string()],
    };
    let root = document.root_element();
    let mut faults = Vec::new();
    let mut want = |holds: bool, what: &str| {
        if !holds {
            faults.push(what.to_owned());
        }
    };
    want(root.has_tag_name(("http://www.w3.org/2000/svg", "svg")), "is no SVG");
    for name in ["title", "desc"] {
        let child = root.children().find(|child| child.tag_name().name() == name);
        want(
            child.and_then(|child| child.text()).is_some_and(|text| !text.trim().is_empty()),
            &format!("no <{name}>"),
        );
    }
    let view: Vec<f64> = numbers(root.attribute("viewBox").unwrap_or_default());
    want(view.len() == 4 && view[2] > 0.0 && view[3] > 0.0, "no viewBox");
    let first = root.children().find(|child| child.is_element() && child.tag_name().name() == "rect");
    want(
        first.is_some_and(|rect| background(rect, &view)),
        "the first <rect> is no light background of the full size",
    );
    for node in root.descendants().filter(Node::is_element) {
        for attribute in node.attributes() {
            let value = attribute.value();
            let outside = value.contains("http:") || value.contains("https:") || value.contains("file:");
            want(!outside, &format!("an external reference: {value}"));
            let reference = attribute.name() == "href";
            want(!reference || value.starts_with('#'), &format!("an external reference: {value}"));
        }
        let name = node.tag_name().name();
        want(!["script", "image", "foreignObject", "style", "use"].contains(&name), &format!("<{name}>"));
        if name == "text" || name == "tspan" {
            let size = node.ancestors().find_map(|node| node.attribute("font-size")).unwrap_or_default();
            let large = size.trim_end_matches("px").parse::<f64>().is_ok_and(|size| size >= 12.0);
            want(large, &format!("text of size {size:?}: {:?}", node.text().unwrap_or_default()));
        }
        if name == "text" && view.len() == 4 {
            let at =
                |name| node.attribute(name).and_then(|number| number.parse::<f64>().ok()).unwrap_or(-1.0);
            let inside = (0.0..=view[2]).contains(&at("x")) && (0.0..=view[3]).contains(&at("y"));
            want(inside, &format!("text outside of the picture: {:?}", node.text().unwrap_or_default()));
        }
    }
    faults
}

fn numbers(list: &str) -> Vec<f64> {
    list.split_whitespace().filter_map(|number| number.parse().ok()).collect()
}

/// As large as the picture, and light enough for dark text.
fn background(rect: Node<'_, '_>, view: &[f64]) -> bool {
    let number = |name: &str| rect.attribute(name).and_then(|value| value.parse::<f64>().ok()).unwrap_or(0.0);
    let full = view.len() == 4 && number("width") == view[2] && number("height") == view[3];
    let colour = rect.attribute("fill").unwrap_or_default().trim_start_matches('#');
    let light = colour.len() == 6
        && (0..3).all(|n| u8::from_str_radix(&colour[2 * n..2 * n + 2], 16).is_ok_and(|part| part >= 0xe0));
    full && light
}

#[test]
fn pictures_can_be_read() {
    let pictures = all();
    assert!(pictures.len() >= 3, "{pictures:?}");
    for picture in pictures {
        assert!(picture.extension().is_some_and(|end| end == "svg"), "{picture:?} is no SVG");
        let faults = faults(&std::fs::read_to_string(&picture).unwrap());
        assert!(faults.is_empty(), "{}: {faults:#?}", picture.display());
    }
}

#[test]
fn faults_are_found() {
    let head =
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 100 50\"><title>t</title><desc>d</desc>";
    let back = "<rect width=\"100\" height=\"50\" fill=\"#ffffff\"/>";
    assert_eq!(
        faults(&format!("{head}{back}<text x=\"1\" y=\"20\" font-size=\"12\">a</text></svg>")),
        [""; 0]
    );
    for bad in [
        "<text x=\"1\" y=\"20\" font-size=\"11\">a</text>",
        "<text x=\"1\" y=\"20\">a</text>",
        "<text x=\"101\" y=\"20\" font-size=\"12\">a</text>",
        "<a href=\"https://example.org\"/>",
        "<image href=\"a.png\"/>",
    ] {
        assert!(!faults(&format!("{head}{back}{bad}</svg>")).is_empty(), "{bad}");
    }
    assert!(!faults(&format!("{head}</svg>")).is_empty());
    assert!(!faults(&format!("{head}{}</svg>", back.replace("#ffffff", "#102030"))).is_empty());
    assert!(!faults("<svg").is_empty());
}
