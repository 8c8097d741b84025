//! Numbers, times and names in little room.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ratatui::text::Span;

/// A text that says nothing to the terminal: what would be obeyed, or would turn the direction of writing, is spelt.
pub(super) fn visible(text: &str) -> String {
    let harmful = |c: char| {
        let marks = ['\u{200b}'..='\u{200f}', '\u{2028}'..='\u{202e}', '\u{2060}'..='\u{2069}'];
        c.is_control() || c == '\u{feff}' || marks.iter().any(|range| range.contains(&c))
    };
    text.chars().map(|c| if harmful(c) { c.escape_unicode().to_string() } else { c.to_string() }).collect()
}

/// Cells that a text takes on the screen.
pub(super) fn width(text: &str) -> usize {
    Span::raw(text).width()
}

/// At most so many cells: what is too long loses its middle, because names often differ at their ends.
pub(super) fn shorten(text: &str, room: usize, gap: char) -> String {
    if width(text) <= room {
        return text.to_owned();
    }
    let Some(rest) = room.checked_sub(1) else { return String::new() };
    let head = prefix(text.chars(), rest.div_ceil(2));
    let tail = prefix(text.chars().rev(), rest - width(&head));
    head.chars().chain([gap]).chain(tail.chars().rev()).collect()
}

/// As many characters from the beginning as fit.
fn prefix(chars: impl Iterator<Item = char>, room: usize) -> String {
    let mut text = String::new();
    for c in chars {
        text.push(c);
        if width(&text) > room {
            text.pop();
            break;
        }
    }
    text
}

/// Lines of at most so many cells, broken between words where that can be.
pub(super) fn wrap(text: &str, room: usize) -> Vec<String> {
    let room = room.max(1);
    let mut lines = vec![String::new()];
    for word in text.split_ascii_whitespace() {
        let mut word = word.to_owned();
        loop {
            let Some(line) = lines.last_mut() else { return lines };
            let gap = usize::from(!line.is_empty());
            if width(line) + gap + width(&word) <= room {
                line.extend(std::iter::repeat_n(' ', gap));
                line.push_str(&word);
                break;
            }
            if line.is_empty() {
                // Wider than a line; a character that is wider still goes over.
                let head = prefix(word.chars(), room);
                let head = if head.is_empty() { word.chars().take(1).collect() } else { head };
                word = word.split_off(head.len());
                line.push_str(&head);
                if word.is_empty() {
                    break;
                }
            }
            lines.push(String::new());
        }
    }
    lines
}

/// `0`, `0.3`, `999`, `1.2k`, `12k`, `18E`: at most four cells.
pub(super) fn count(number: f64) -> String {
    scaled(number, 1000.0, &["", "k", "M", "G", "T", "P", "E", "Z"])
}

/// Bytes: `0`, `512`, `1.5K`, `12M`, in steps of 1024; five cells at most.
pub(super) fn bytes(number: f64) -> String {
    scaled(number, 1024.0, &["", "K", "M", "G", "T", "P", "E", "Z"])
}

fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    if !number.is_finite() || number < 0.0 {
        return "?".into();
    }
    let (mut number, mut unit) = (number, 0);
    while number >= step - 0.5 && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let digits = usize::from(number < 9.95 && (unit > 0 || (number > 0.0 && number.fract() > 0.0)));
    format!("{number:.digits$}{}", units[unit])
}

/// `1 sender`, `2 senders`.
pub(super) fn many(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// A rate; `-` where it is not known yet, or cannot be because a counter went backwards.
pub(super) fn rate(rate: Option<f64>, unit: fn(f64) -> String) -> String {
    rate.map_or_else(|| "-".into(), unit)
}

/// `0 s`, `59 s`, `1 min 5 s`, `2 h 5 min`, `3 d 4 h`.
pub(super) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds / 3600 % 24),
    }
}

/// The interval of the pictures: `500 ms`, `2 s`.
pub(super) fn interval(time: Duration) -> String {
    if time.subsec_millis() == 0 { duration(time) } else { format!("{} ms", time.as_millis()) }
}

/// The time of day: `14:03:05Z`, in UTC, because the zone of a user is not for a small tool to find out.
pub(super) fn clock(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs() % 86_400;
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// What bars and sparklines are drawn with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Glyphs {
    full: char,
    empty: char,
    /// From nothing to the most.
    levels: [char; 9],
    /// Stands for what was left out.
    pub(super) gap: char,
    pub(super) ascii: bool,
}

impl Glyphs {
    pub(super) const UNICODE: Self = Self {
        full: '█',
        empty: '░',
        levels: [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'],
        gap: '…',
        ascii: false,
    };
    /// For terminals of another character set.
    pub(super) const ASCII: Self = Self {
        full: '#',
        empty: '.',
        levels: [' ', '.', ':', '-', '=', '+', '*', '%', '#'],
        gap: '~',
        ascii: true,
    };

    /// Those that the locale can show.
    pub(super) fn of_locale() -> Self {
        let set = |name: &&str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let name = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find(set);
        let locale = name.and_then(|name| std::env::var(name).ok()).unwrap_or_default().to_ascii_lowercase();
        if locale.contains("utf-8") || locale.contains("utf8") { Self::UNICODE } else { Self::ASCII }
    }

    /// A bar of so many cells. One that is not empty shows at least one, and only a full one shows all.
    pub(super) fn bar(&self, part: f64, cells: usize) -> String {
        let part = part.clamp(0.0, 1.0);
        let rounded = (part * cells as f64).round() as usize;
        let full = if part <= 0.0 {
            0
        } else if part >= 1.0 {
            cells
        } else {
            rounded.clamp(1, cells.saturating_sub(1).max(1)).min(cells)
        };
        (0..cells).map(|cell| if cell < full { self.full } else { self.empty }).collect()
    }

    /// One cell for each value, as high as it is beside the greatest. Unknown ones are blank, as is nothing.
    pub(super) fn spark(&self, values: &[Option<f64>]) -> String {
        let most = values.iter().flatten().copied().fold(0.0, f64::max);
        let level = |value: f64| {
            if value > 0.0 { ((value / most * 8.0).ceil() as usize).clamp(1, 8) } else { 0 }
        };
        values.iter().map(|value| self.levels[value.map_or(0, level)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_short() {
        for (number, text) in [
            (0.0, "0"),
            (0.25, "0.2"),
            (1.0, "1"),
            (12.4, "12"),
            (999.0, "999"),
            (999.6, "1.0k"),
            (1234.0, "1.2k"),
            (45_678.0, "46k"),
            (2.5e6, "2.5M"),
            (u64::MAX as f64, "18E"),
            (f64::INFINITY, "?"),
            (f64::NAN, "?"),
            (-1.0, "?"),
        ] {
            assert_eq!(count(number), text);
        }
        assert_eq!((bytes(512.0).as_str(), bytes(1536.0).as_str()), ("512", "1.5K"));
        for power in 0..64 {
            let number = 1u64 << power;
            assert!(count(number as f64).len() <= 4, "{}", count(number as f64));
            assert!(bytes(number as f64 - 1.0).len() <= 5, "{}", bytes(number as f64));
        }
        assert_eq!(rate(None, count), "-");
    }

    #[test]
    fn times() {
        let text = |seconds| duration(Duration::from_secs(seconds));
        assert_eq!((text(0), text(59), text(65)), ("0 s".into(), "59 s".into(), "1 min 5 s".into()));
        assert_eq!((text(7500), text(273_600)), ("2 h 5 min".into(), "3 d 4 h".into()));
        assert!(!text(u64::MAX).is_empty());
        assert_eq!(interval(Duration::from_millis(500)), "500 ms");
        assert_eq!(interval(Duration::from_secs(2)), "2 s");
        assert_eq!(clock(UNIX_EPOCH + Duration::from_secs(86_400 * 3 + 3723)), "01:02:03Z");
    }

    #[test]
    fn nothing_is_said_to_the_terminal() {
        assert_eq!(visible("a\u{1b}[2J\u{202e}b\u{e4}"), "a\\u{1b}[2J\\u{202e}b\u{e4}");
    }

    #[test]
    fn long_names_lose_their_middle() {
        assert_eq!(shorten("short", 5, '~'), "short");
        assert_eq!(shorten("abcdefghij", 5, '~'), "ab~ij");
        assert_eq!(shorten("abcdefghij", 6, '~'), "abc~ij");
        assert_eq!((shorten("abc", 1, '~'), shorten("abc", 0, '~')), ("~".into(), String::new()));
        for room in 0..12 {
            assert!(width(&shorten("日本語の長い名前です", room, '~')) <= room);
        }
    }

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrap("a bc def", 4), ["a bc", "def"]);
        assert_eq!(wrap("abcdefg h", 3), ["abc", "def", "g h"]);
        assert_eq!(wrap("", 3), [""]);
        assert_eq!(wrap("日本", 1), ["日", "本"]);
        assert_eq!(wrap("日本", 0), ["日", "本"]);
    }

    #[test]
    fn bars_and_sparklines() {
        let glyphs = Glyphs::ASCII;
        assert_eq!(glyphs.bar(0.0, 4), "....");
        assert_eq!(glyphs.bar(0.001, 4), "#...");
        assert_eq!(glyphs.bar(0.5, 4), "##..");
        assert_eq!(glyphs.bar(0.999, 4), "###.");
        assert_eq!(glyphs.bar(1.0, 4), "####");
        assert_eq!((glyphs.bar(0.5, 0), glyphs.bar(0.5, 1)), (String::new(), "#".into()));
        assert_eq!(glyphs.bar(f64::NAN, 2).len(), 2);
        let values = [None, Some(0.0), Some(1.0), Some(4.0), Some(8.0)];
        assert_eq!(glyphs.spark(&values), "  .=#");
        assert_eq!(glyphs.spark(&[Some(f64::MAX), Some(f64::MAX)]), "##");
    }
}
