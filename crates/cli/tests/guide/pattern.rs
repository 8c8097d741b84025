//! Whether an output is what the guide shows: `...` is anything within a line, a line `...` any lines, a run of blanks
//! any other run.

/// Whether the lines of an output are those of the guide.
pub(crate) fn lines(shown: &[&str], output: &[&str]) -> bool {
    match (shown, output) {
        ([], []) => true,
        ([first, shown @ ..], _) if first.trim() == "..." => {
            (0..=output.len()).any(|n| lines(shown, &output[n..]))
        }
        ([first, shown @ ..], [line, output @ ..]) => self::line(first, line) && lines(shown, output),
        _ => false,
    }
}

fn line(shown: &str, output: &str) -> bool {
    let (shown, output) = (blanks(shown), blanks(output));
    let mut parts = shown.split("...");
    let Some(mut rest) = output.strip_prefix(parts.next().unwrap_or_default()) else {
        return false;
    };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.is_empty()
}

/// Each run of blanks as one, none at the end.
fn blanks(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    for char in line.trim_end().chars() {
        let blank = char == ' ' || char == '\t';
        if !blank {
            text.push(char);
        } else if !text.ends_with(' ') {
            text.push(' ');
        }
    }
    text
}

#[test]
fn patterns() {
    for (shown, output) in [
        ("pid ...", "pid 42"),
        ("...", ""),
        ("a   b", "a b"),
        ("a ... c ... e", "a b c d e"),
        ("x ... x", "x x x"),
    ] {
        assert!(line(shown, output), "{shown:?} {output:?}");
    }
    for (shown, output) in
        [("pid ...", "the pid 42"), ("a", "a b"), ("a ... b ... c", "a b"), ("a", ""), ("", "a")]
    {
        assert!(!line(shown, output), "{shown:?} {output:?}");
    }
    assert!(lines(&["a", "...", "d"], &["a", "b", "c", "d"]));
    assert!(lines(&["a", "..."], &["a"]));
    assert!(!lines(&["a", "...", "d"], &["a", "b"]));
    assert!(!lines(&[], &["a"]));
    assert!(!lines(&["a"], &[]));
}
