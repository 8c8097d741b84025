//! Completions, manual pages and schemas, generated from what the program is.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::args;
use crate::exit::{FAILURE, Failure, errno};
use crate::manual::{self, Example};
use crate::output;
use crate::schema;

/// Shells whose completions are committed; `sysring completions` knows more.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Zsh, Shell::Fish];

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    pub(crate) shell: Shell,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Where to
    pub(crate) directory: PathBuf,
}

pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), Failure> {
    output::print(&completion(args.shell))
}

pub(crate) fn run(args: &GenerateArgs) -> Result<(), Failure> {
    for (path, text) in files()? {
        write(&args.directory.join(path), &text)?;
    }
    Ok(())
}

/// Every generated file, by its path below the directory.
fn files() -> Result<Vec<(PathBuf, String)>, Failure> {
    let mut files = Vec::new();
    for shell in SHELLS {
        let name = match shell {
            Shell::Zsh => "_sysring".to_owned(),
            shell => format!("sysring.{shell}"),
        };
        files.push((Path::new("completions").join(name), completion(shell)));
    }
    let pages =
        pages().map_err(|error| Failure::new(FAILURE, format!("writing a page: {}", errno(&error))))?;
    files.extend(pages.into_iter().map(|(name, page)| (Path::new("man").join(name), page)));
    let schemas = schema::schemas();
    files.extend(schemas.into_iter().map(|(name, schema)| (Path::new("schema").join(name), schema)));
    Ok(files)
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let directory = path.parent().map_or(Ok(()), fs::create_dir_all);
    directory
        .and_then(|()| fs::write(path, text))
        .map_err(|error| Failure::new(FAILURE, format!("writing {}: {}", path.display(), errno(&error))))
}

/// The command line without what is not for people. A generator of completions would not leave that out.
fn visible() -> Command {
    let all = args::definition();
    let mut visible = Command::new("sysring").version(env!("CARGO_PKG_VERSION"));
    visible = visible.subcommand_required(true).disable_help_subcommand(true);
    if let Some(about) = all.get_about() {
        visible = visible.about(about.clone());
    }
    visible.subcommands(all.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}

fn completion(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut visible(), "sysring", &mut script);
    // Made of the texts of this program.
    String::from_utf8_lossy(&script).into_owned()
}

/// `sysring.1`, and a page for each command.
fn pages() -> io::Result<Vec<(String, String)>> {
    let mut sysring = visible();
    sysring.build();
    let commands: Vec<Command> = sysring.get_subcommands().cloned().collect();
    let others = |but: &str| -> Vec<String> {
        let names = commands.iter().map(Command::get_name).filter(|name| *name != but);
        names.map(|name| format!("sysring-{name}")).collect()
    };
    let mut pages = vec![("sysring.1".to_owned(), page(sysring.clone(), "sysring", &others(""))?)];
    for command in &commands {
        let name = command.get_name().to_owned();
        let also = [vec!["sysring".to_owned()], others(&name)].concat();
        pages.push((format!("sysring-{name}.1"), page(command.clone(), &name, &also)?));
    }
    Ok(pages)
}

fn page(command: Command, name: &str, see_also: &[String]) -> io::Result<String> {
    let has_commands = command.has_subcommands();
    let has_options = command.get_arguments().any(|argument| !argument.is_hide_set());
    // The source is the package, and so that a page is the same whenever it is made, there is no date.
    let man = Man::new(command).source(concat!("sysring ", env!("CARGO_PKG_VERSION"))).manual("sysring");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    notes(name).to_writer(&mut page)?;
    if has_options {
        man.render_options_section(&mut page)?;
    }
    if has_commands {
        man.render_subcommands_section(&mut page)?;
    }
    exit_status(name).to_writer(&mut page)?;
    examples(name).to_writer(&mut page)?;
    self::see_also(see_also).to_writer(&mut page)?;
    // Made of the texts of this program.
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn notes(command: &str) -> Roff {
    let mut roff = Roff::new();
    for paragraph in manual::notes(command) {
        roff.control("PP", []).text([roman(paragraph)]);
    }
    roff
}

fn exit_status(command: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in manual::statuses(command) {
        roff.control("TP", ["6"]).text([bold(status.to_string())]).text([roman(meaning)]);
    }
    roff
}

fn examples(command: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for Example { line, what } in manual::examples(command) {
        roff.control("TP", []).text([bold(*line)]).text([roman(capital(what))]);
    }
    roff
}

/// A sentence.
fn capital(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|char| char.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

fn see_also(pages: &[String]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    let mut line = Vec::new();
    for (number, page) in pages.iter().enumerate() {
        let end = if number + 1 < pages.len() { "(1), " } else { "(1)" };
        line.extend([bold(page.as_str()), roman(end)]);
    }
    roff.text(line);
    roff
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is committed under `share` is what the program generates now.
    #[test]
    fn the_committed_files_are_up_to_date() {
        let share = Path::new(env!("CARGO_MANIFEST_DIR")).join("share");
        let files = files().unwrap();
        for (path, text) in &files {
            let committed = fs::read_to_string(share.join(path)).unwrap_or_default();
            assert!(
                committed == *text,
                "{} is not what the program generates; renew it with 'sysring generate crates/cli/share'",
                path.display()
            );
        }
        for directory in ["completions", "man"] {
            for entry in fs::read_dir(share.join(directory)).unwrap() {
                let path = Path::new(directory).join(entry.unwrap().file_name());
                let known = files.iter().any(|(file, _)| *file == path);
                assert!(known, "{} is not generated any more: remove it", path.display());
            }
        }
    }

    #[test]
    fn hidden_commands_stay_hidden() {
        for (path, text) in files().unwrap() {
            for hidden in ["demo-sender", "sysring-generate"] {
                assert!(!text.contains(hidden), "{hidden} in {}", path.display());
            }
        }
    }
}
