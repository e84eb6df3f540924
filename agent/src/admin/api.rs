//! Client and server of the admin API: generated from `schemas/proto/admin.proto` by
//! `tests/generated.rs`, and committed. The messages are those of the contracts
//! ([`etcdr_schemas::pb::admin`]), which may not name tonic.

include!("api/generated.rs");
