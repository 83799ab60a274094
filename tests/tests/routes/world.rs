//! The functions' own routers, for one caller.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_eventbridge::operation::put_events::PutEventsOutput;
use aws_sdk_kms::error::ErrorMetadata;
use aws_sdk_kms::operation::create_key::CreateKeyError;
use aws_sdk_kms::operation::decrypt::DecryptOutput;
use aws_sdk_kms::operation::generate_data_key::GenerateDataKeyOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_resourcegroupstagging::operation::get_resources::GetResourcesOutput;
use aws_sdk_sqs::operation::send_message::SendMessageOutput;
use aws_smithy_mocks::{RuleMode, mock, mock_client};
use aws_smithy_runtime_api::client::http::{HttpConnector, HttpConnectorFuture, SharedHttpConnector};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use axum::Router;
use axum::body::to_bytes;
use axum::http::header::SET_COOKIE;
use rootcast_authority::{CertificateAuthority, Settings};
use rootcast_console::Oidc;
use rootcast_core::inventory::sealed::Sealed;
use rootcast_core::job::Phase;
use rootcast_events::Events;
use rootcast_gate::routes::Function;
use rootcast_gate::{ScmGate, SecondPerson};
use rootcast_ledger::AccessKeyId;
use rootcast_queue::Queue;
use rootcast_seal::Sealer;
use rootcast_vault::Vault;
use serde_json::json;
use time::{Duration, OffsetDateTime};
use tower::ServiceExt;

use crate::provider::{CLIENT, ISSUER, Provider};
use crate::tables::{ACCESS_KEY, Caller, ledger};

/// The access key's secret.
pub(crate) const SECRET: &str = "not-a-real-secret-but-as-long-as-one-is-";

pub(crate) struct World {
    regenerate: Router,
    catalog: Router,
    import: Router,
    retry: Router,
    access: Router,
    /// Asks the others.
    console: Router,
    /// For [`Self::with_provider`].
    pub(crate) provider: Arc<Provider>,
}

impl World {
    pub(crate) async fn of(caller: Option<&Caller>) -> Self {
        Self::made(caller, None).await
    }

    /// People sign in on the page at an OpenID provider.
    pub(crate) async fn with_provider(caller: Option<&Caller>) -> Self {
        Self::made(caller, Some(Oidc { issuer: ISSUER.to_owned(), client: CLIENT.to_owned() })).await
    }

    async fn made(caller: Option<&Caller>, oidc: Option<Oidc>) -> Self {
        let kms = kms();
        let sealer = || Sealer::new(&kms, "key");
        let ledger = ledger(caller, &sealed(&sealer()).await);
        let gate = || ScmGate::new(ledger.clone(), sealer());
        let control_queue = "https://sqs.invalid/control".to_owned();
        let clock = OffsetDateTime::now_utc;
        let second = SecondPerson::new(ledger.clone(), Default::default(), clock);
        let regenerate = regenerate::App {
            workers: 50,
            authority: CertificateAuthority::new(
                ledger.clone(),
                Vault::new(&kms, &tagging(), "stack"),
                Duration::days(30),
            ),
            ledger: ledger.clone(),
            queue: queue(),
            control_queue: control_queue.clone(),
            settings: Settings {
                root_name: "Root".to_owned(),
                subject: "O=Example".parse().unwrap(),
                permitted: Default::default(),
                validity: Duration::days(3650),
                backdate: Duration::hours(1),
                hold_down: 0,
                until: Phase::Activate,
                crl_base: None,
                roles: "arn:aws:iam::000000000000:role/rootcast/us-east-1/stack".parse().unwrap(),
            },
            second: second.clone(),
            clock,
        };
        let catalog = catalog::Parts {
            ledger: ledger.clone(),
            gate: gate(),
            queue: queue(),
            control_queue: control_queue.clone(),
            issue_queue: "https://sqs.invalid/issue".to_owned(),
            task_queue: "https://sqs.invalid/tasks".to_owned(),
            networks: "10.0.0.0/8".parse().unwrap(),
            sealer: sealer(),
            credential_prefix: "/rootcast/devices/".to_owned(),
            ssm: ssm(),
            prices: Default::default(),
            second: second.clone(),
            clock,
        };
        let import = import::App {
            ledger: ledger.clone(),
            gate: gate(),
            sealer: sealer(),
            events: events(),
            roots: import::Roots::new(ledger.clone(), Vec::new),
            second: second.clone(),
            clock,
        };
        let retry = retry::App {
            ledger: ledger.clone(),
            queue: queue(),
            control_queue,
            issue_queue: "https://sqs.invalid/issue".to_owned(),
            clock,
        };
        let regenerate = regenerate::router(Arc::new(regenerate));
        let catalog = catalog::router(catalog::App::new(catalog));
        let import = import::router(Arc::new(import));
        let access = access::router(Arc::new(access::App { ledger, idle: Duration::DAY, second, clock }));
        let asked = [("regenerate", &regenerate), ("catalog", &catalog), ("import", &import), ("access", &access)];
        let functions = asked.map(|(name, router)| (name.to_owned(), router.clone())).into();
        let provider = Arc::new(Provider::default());
        let console = console(Outside { functions, provider: provider.clone() }, oidc, clock);
        Self { regenerate, catalog, import, retry: retry::router(Arc::new(retry)), access, console, provider }
    }

    pub(crate) fn router(&self, function: Function) -> Router {
        match function {
            Function::Regenerate => &self.regenerate,
            Function::Catalog => &self.catalog,
            Function::Import => &self.import,
            Function::Retry => &self.retry,
            Function::Access => &self.access,
            Function::Console => &self.console,
        }
        .clone()
    }
}

/// The operator's page, whose calls of Lambda go to these routers.
fn console(outside: Outside, oidc: Option<Oidc>, clock: fn() -> OffsetDateTime) -> Router {
    let name = |name: &str| name.to_owned();
    let app = rootcast_console::App {
        lambda: rootcast_console::Lambda {
            http: SharedHttpConnector::new(outside),
            credentials: SharedCredentialsProvider::new(Credentials::new(
                "AKIDEXAMPLE",
                "not-a-secret",
                None,
                None,
                "test",
            )),
            region: name("eu-central-1"),
            endpoint: name("https://lambda.invalid"),
        },
        functions: rootcast_console::Functions {
            regenerate: name("regenerate"),
            catalog: name("catalog"),
            import: name("import"),
            access: name("access"),
        },
        oidc,
        clock,
    };
    rootcast_console::router(Arc::new(app))
}

struct Outside {
    functions: HashMap<String, Router>,
    provider: Arc<Provider>,
}

impl fmt::Debug for Outside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lambda")
    }
}

impl HttpConnector for Outside {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let name = request.uri().split('/').nth_back(1).unwrap().to_owned();
        let (router, access) = (self.functions.get(&name).cloned(), self.functions["access"].clone());
        let provider = self.provider.clone();
        HttpConnectorFuture::new(async move {
            if let Some((status, cookies, body)) = provider.answer(&request, &access).await {
                let mut response = HttpResponse::new(status.try_into().unwrap(), SdkBody::from(body));
                for cookie in cookies {
                    response.headers_mut().append("set-cookie", cookie);
                }
                return Ok(response);
            }
            let event = String::from_utf8(request.body().bytes().unwrap().to_vec()).unwrap();
            let request = rootcast_gate::request(&event).unwrap();
            let (parts, body) = router.unwrap().oneshot(request).await.unwrap().into_parts();
            let body = to_bytes(body, 1 << 20).await.unwrap();
            let cookies = parts.headers.get_all(SET_COOKIE).iter().map(|cookie| cookie.to_str().unwrap());
            let answer = json!({
                "statusCode": parts.status.as_u16(),
                "cookies": cookies.collect::<Vec<_>>(),
                "body": String::from_utf8_lossy(&body),
            });
            Ok(HttpResponse::new(200.try_into().unwrap(), SdkBody::from(answer.to_string())))
        })
    }
}

async fn sealed(sealer: &Sealer) -> Sealed {
    let id: AccessKeyId = ACCESS_KEY.parse().unwrap();
    sealer.seal(&id.seal_context(), SECRET.as_bytes()).await.unwrap()
}

/// Returns the same data key each time; creates no key.
fn kms() -> aws_sdk_kms::Client {
    let made = mock!(aws_sdk_kms::Client::generate_data_key).then_output(|| {
        let made = GenerateDataKeyOutput::builder().plaintext(Blob::new([3; 32]));
        made.ciphertext_blob(Blob::new("wrapped")).build()
    });
    let opened = mock!(aws_sdk_kms::Client::decrypt)
        .then_output(|| DecryptOutput::builder().plaintext(Blob::new([3; 32])).build());
    let refused = mock!(aws_sdk_kms::Client::create_key)
        .then_error(|| CreateKeyError::generic(ErrorMetadata::builder().code("AccessDeniedException").build()));
    mock_client!(aws_sdk_kms, RuleMode::MatchAny, [&made, &opened, &refused])
}

fn tagging() -> aws_sdk_resourcegroupstagging::Client {
    let none = mock!(aws_sdk_resourcegroupstagging::Client::get_resources)
        .then_output(|| GetResourcesOutput::builder().build());
    mock_client!(aws_sdk_resourcegroupstagging, RuleMode::MatchAny, [&none])
}

fn queue() -> Queue {
    let sent = mock!(aws_sdk_sqs::Client::send_message).then_output(|| SendMessageOutput::builder().build());
    Queue::new(mock_client!(aws_sdk_sqs, RuleMode::MatchAny, [&sent]))
}

fn ssm() -> aws_sdk_ssm::Client {
    let listed = mock!(aws_sdk_ssm::Client::list_tags_for_resource)
        .then_output(|| aws_sdk_ssm::operation::list_tags_for_resource::ListTagsForResourceOutput::builder().build());
    mock_client!(aws_sdk_ssm, RuleMode::MatchAny, [&listed])
}

fn events() -> Events {
    let put = mock!(aws_sdk_eventbridge::Client::put_events).then_output(|| PutEventsOutput::builder().build());
    Events::new(mock_client!(aws_sdk_eventbridge, RuleMode::MatchAny, [&put]), "default")
}
