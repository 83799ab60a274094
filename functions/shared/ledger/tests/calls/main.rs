//! The ledger's calls to DynamoDB, on the SDK's own mock layer.

mod certificates;
mod commit;
mod grants;
mod issued;
mod leases;
mod named_twice;
mod retries;
mod schema;
mod settle;
mod uses;
