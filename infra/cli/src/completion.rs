//! `rootcast completion`: what a shell needs to complete a line.

use std::io::Write as _;

use anyhow::Result;
use clap::{Args, CommandFactory as _, ValueEnum};
use clap_complete::generate;

use crate::{arguments::Arguments, exit::End};

#[derive(Debug, Args)]
pub(crate) struct Completion {
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    /// source <(rootcast completion bash)
    Bash,
    /// source <(rootcast completion zsh)
    Zsh,
    /// rootcast completion fish | source
    Fish,
}

pub(crate) fn run(completion: &Completion) -> Result<End> {
    // clap_complete panics where it cannot write.
    std::io::stdout().write_all(&script(completion.shell))?;
    Ok(End::Done)
}

fn script(shell: Shell) -> Vec<u8> {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "rootcast", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::{Shell, script};

    #[test]
    fn every_shell_completes_commands_and_options() {
        for shell in Shell::value_variants() {
            let text = String::from_utf8_lossy(&script(*shell)).into_owned();
            assert!(text.contains("--all-pending") || text.contains("-l all-pending"), "{shell:?}");
        }
    }
}
