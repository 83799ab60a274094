//! The whole of it, up and down.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use aws_config::SdkConfig;
use tempfile::TempDir;

use crate::{
    bootstraps,
    cloud::Cloud,
    deploy::{self, Outputs},
    fleet::Fleet,
    front,
    progress::{Progress, Stage},
    tls::{Authority, Server},
    tools::{Toolchain, cache_folder, project_folder},
};

/// Downloading three environments over a slow line.
const TOOLS_LIMIT: Duration = Duration::from_secs(900);
/// Compiling the whole workspace on a slow machine.
const BUILD_LIMIT: Duration = Duration::from_secs(3600);
const CLOUD_LIMIT: Duration = Duration::from_secs(60);
const DEPLOY_LIMIT: Duration = Duration::from_secs(120);
const FLEET_LIMIT: Duration = Duration::from_secs(300);

/// What to bring up. `LocalOptions::new(10, progress)` is a stack on free ports, in a temporary folder.
#[derive(Debug)]
pub struct LocalOptions {
    /// The checkout; see [`project_folder`].
    pub project: PathBuf,
    /// Where the Python environments are kept; see [`cache_folder`].
    pub cache: PathBuf,
    /// Logs, the fleet's state and the CA certificate. A temporary folder, removed at the end, where none is given.
    pub data: Option<PathBuf>,
    /// Port of `https://localhost:PORT`; a free one where none is given.
    pub api_port: Option<u16>,
    /// Port of the local cloud; a free one where none is given.
    pub cloud_port: Option<u16>,
    /// How many devices.
    pub devices: usize,
    /// Name of the CloudFormation stack.
    pub stack: String,
    /// Parameters of template.yaml, over those that being local asks for.
    pub parameters: BTreeMap<String, String>,
    pub progress: Progress,
}

impl LocalOptions {
    /// # Errors
    /// The current folder is not in a checkout, or there is no folder for the cache.
    pub fn new(devices: usize, progress: Progress) -> Result<Self> {
        Ok(Self {
            project: project_folder()?,
            cache: cache_folder()?,
            data: None,
            api_port: None,
            cloud_port: None,
            devices,
            stack: "rootcast".to_owned(),
            parameters: BTreeMap::new(),
            progress,
        })
    }
}

/// A running stack. Dropping it ends every process; [`LocalStack::shutdown`] does so in order and waits.
#[derive(Debug)]
pub struct LocalStack {
    /// `http://127.0.0.1:PORT`: every AWS API, for SDKs.
    pub endpoint_url: String,
    /// The same with dummy credentials and region, ready for the official SDK's clients.
    pub sdk_config: SdkConfig,
    /// `https://localhost:PORT`: Rootcast's own API.
    pub api_url: String,
    /// The certificate to trust for `api_url`, a PEM file.
    pub ca_pem: PathBuf,
    pub outputs: Outputs,
    pub fleet: Fleet,
    /// Logs: `cloud.log`, and `fleet/*/log` of each device. Those of the functions: [`Self::log`].
    pub data: PathBuf,
    front: Server,
    cloud: Cloud,
    _temporary: Option<TempDir>,
}

impl LocalStack {
    /// Brings everything up.
    ///
    /// # Errors
    /// Names the stage that failed and what to do about it. Whatever ran by then is ended.
    pub async fn start(options: LocalOptions) -> Result<Self> {
        // For reqwest's clients; whoever came first has installed the same one.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (data, temporary) = data_folder(options.data.as_deref())?;
        let progress = &options.progress;
        let (tools, packages) = tokio::try_join!(
            progress.stage(Stage::Tools, TOOLS_LIMIT, Toolchain::prepare(&options.project, &options.cache, progress)),
            progress.stage(Stage::Build, BUILD_LIMIT, bootstraps::build(&options.project)),
        )?;
        let yard = data.join("fleet");
        let (fleet, (cloud, sdk_config, outputs)) = tokio::try_join!(
            progress.stage(Stage::Fleet, FLEET_LIMIT, Fleet::start(&tools, &yard, options.devices, progress)),
            async {
                let cloud = Cloud::start(&tools, &data, options.cloud_port);
                let cloud = progress.stage(Stage::Cloud, CLOUD_LIMIT, cloud).await?;
                let sdk_config = cloud.sdk_config();
                let parameters = parameters(&options.parameters, &cloud.endpoint);
                let deployed = async {
                    let template =
                        deploy::translate(&tools, &options.project.join("template.yaml"), &parameters).await?;
                    deploy::create(&sdk_config, &options.stack, template, packages, &parameters).await
                };
                let outputs = progress.stage(Stage::Deploy, DEPLOY_LIMIT, deployed).await?;
                Ok((cloud, sdk_config, outputs))
            },
        )?;
        let ca_pem = data.join("ca.pem");
        let front = progress
            .stage(Stage::Front, CLOUD_LIMIT, async {
                let authority = Authority::new("Rootcast local API")?;
                std::fs::write(&ca_pem, authority.pem())?;
                front::start(&cloud.endpoint, outputs.of("ApiId")?, &authority.issue("localhost")?, options.api_port)
            })
            .await?;
        Ok(Self {
            endpoint_url: cloud.endpoint.clone(),
            sdk_config,
            api_url: format!("https://localhost:{}", front.port),
            ca_pem,
            outputs,
            fleet,
            data,
            front,
            cloud,
            _temporary: temporary,
        })
    }

    /// Kills every process that runs `function` (its name, as in [`Self::outputs`]) at this moment, as a crash would.
    /// Returns how many there were. Linux only: elsewhere it finds none.
    ///
    /// # Errors
    /// The local cloud is gone.
    pub async fn crash(&self, function: &str) -> Result<usize> {
        self.cloud.crash(function).await
    }

    /// What `function` (its name, as in [`Self::outputs`]) has written to its log.
    ///
    /// # Errors
    /// It never ran, or the local cloud is gone.
    pub async fn log(&self, function: &str) -> Result<String> {
        self.cloud.log(function).await
    }

    /// Ends everything: no request is taken any more, then the devices, then the cloud, which ends its functions.
    ///
    /// # Errors
    /// Something did not end.
    pub async fn shutdown(self) -> Result<()> {
        let front = self.front.end().await;
        let (fleet, cloud) = tokio::join!(self.fleet.end(), self.cloud.end());
        front.and(fleet).and(cloud)
    }
}

/// The parameters that being local asks for, and the caller's over them.
pub(crate) fn parameters(wanted: &BTreeMap<String, String>, endpoint: &str) -> BTreeMap<String, String> {
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "x86_64" };
    let local = [("EndpointUrl", endpoint), ("Architecture", architecture), ("DeviceCidrs", "127.0.0.0/8")];
    let local = local.map(|(name, value)| (name.to_owned(), value.to_owned()));
    local.into_iter().chain(wanted.clone()).collect()
}

fn data_folder(given: Option<&Path>) -> Result<(PathBuf, Option<TempDir>)> {
    match given {
        Some(folder) => {
            std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
            Ok((folder.canonicalize()?, None))
        }
        None => {
            let folder = tempfile::Builder::new().prefix("rootcast-").tempdir()?;
            Ok((folder.path().to_owned(), Some(folder)))
        }
    }
}
