//! A member that holds other data, as a running agent reports it.

use etcdr_tests::backup::Backup;
use etcdr_tests::etcd::initial_cluster;
use etcdr_tests::fleet::{Agent, until};
use etcdr_tests::versions;
use serde_json::Value;

use crate::agreement::{restore_each, save_with_value, value_in};
use crate::{boot, three_members};

#[test]
fn a_member_with_other_data_is_named_wherever_somebody_looks() {
    let version = versions::newest();
    let mut place = Backup::new();
    let members = three_members(&place);
    let initial = initial_cluster(&members);
    let (agreeing, other) = members.split_at(2);
    for (value, members) in [("agreed", agreeing), ("other", other)] {
        let id = save_with_value(&mut place, version, value);
        restore_each(&place, &id, members, &initial);
    }
    let cluster = boot(version, members);
    let listed = cluster.ask(&["member", "list"]);
    let listed = listed["members"].as_array().unwrap();
    let third = listed.iter().find(|member| member["name"] == "m2").unwrap();
    let dissenter = format!("{:x}", third["ID"].as_u64().unwrap());

    // The agent runs beside the member that dissents.
    let before = place.ids().len();
    let mut agent = Agent::new(&place, "beside", &cluster.endpoints[2], "@yearly");
    agent.start(&place);
    until("a snapshot", || place.ids().len() > before, || agent.said());
    agent.says("members hold other data than the majority");
    let said = agent.said();
    let line = said.lines().find(|line| line.contains("other data than the majority")).unwrap();
    assert!(line.contains(&dissenter) && line.contains("ERROR"), "{line}");

    let shown = place.json(&["snapshot", "show", "latest"]);
    let manifest = &shown["manifest"];
    let dissented = manifest["hash_kv"]["dissented"].as_array().unwrap();
    assert_eq!(dissented.len(), 1, "{shown}");
    assert_eq!(dissented[0]["member_id"], dissenter, "{shown}");
    assert_eq!(manifest["hash_kv"]["agreed"].as_array().unwrap().len(), 2, "{shown}");
    assert!(!manifest["suspect"].as_array().unwrap().is_empty(), "{shown}");
    assert_ne!(manifest["source"]["member_id"], dissenter, "{shown}");
    assert_eq!(value_in(&place, &shown), "agreed", "the majority's data is saved");

    let metrics = agent.get("/metrics").1;
    for metric in ["etcdr_members_dissenting 1", "etcdr_dissents_total 1"] {
        assert!(metrics.lines().any(|line| line == metric), "no {metric} in\n{metrics}");
    }
    let page = agent.get("/").1;
    assert!(page.contains("Other data than the majority"), "{page}");
    assert!(page.contains("Member m2 held other data than the majority"), "{page}");
    let status = agent.get("/status.json").1;
    let status: Value = serde_json::from_str(status.split_once("\r\n\r\n").unwrap().1).unwrap();
    let marked = status["members"].as_array().unwrap().iter().filter(|one| one["dissents"] == true);
    let marked: Vec<_> = marked.map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(marked, [dissenter.as_str()], "{status}");
    let urgent = |one: &Value| one["code"] == "members.dissent" && one["urgent"] == true;
    assert!(status["warnings"].as_array().unwrap().iter().any(urgent), "{status}");
}
