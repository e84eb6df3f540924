//! Agents that share the work, and what happens to them over the years: killed, cut off, stopped,
//! misconfigured, while etcd and the store come and go. Each tick yields one snapshot, and every
//! snapshot is whole.

mod back_off;
mod care;
mod clock;
mod contest;
mod dissent;
mod etcd_events;
mod outage;
mod partition;
mod settings;
mod spool;
mod store_events;
