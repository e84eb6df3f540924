//! Level `semantic`, and the view that it uses, against models and planted defects.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod support;

#[path = "semantic/histories.rs"]
mod histories;
#[path = "semantic/model.rs"]
mod model;
#[path = "semantic/planted.rs"]
mod planted;
