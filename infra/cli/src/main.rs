use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    rootcast_cli::run().await
}
