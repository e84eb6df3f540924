//! Checks a configuration for an agent: the settings of all operations, and schedules.

use std::collections::BTreeMap;

use etcdr_schemas::config::{Config, Problem};

use crate::schedule;
use etcdr_operations::settings::Settings;

/// Checks what can be checked without asking anybody. `variables` are the object store's.
///
/// # Errors
/// Every value that cannot be used, with the path of its key.
pub fn check(
    config: Config,
    variables: BTreeMap<String, String>,
) -> Result<Settings, Vec<Problem>> {
    let mut problems = schedule::check(&config);
    match Settings::new(config, variables) {
        Ok(settings) if problems.is_empty() => Ok(settings),
        Ok(_) => Err(problems),
        Err(more) => {
            problems.extend(more);
            Err(problems)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_that_cannot_be_used_is_named() {
        let mut config = Config::default();
        config.repository.url = "ftp://x".to_owned();
        config.etcd.endpoint = "carrier pigeon".to_owned();
        if let Some(schedule) = config.schedules.first_mut() {
            schedule.cron = "61 * * * *".to_owned();
        }
        let problems = check(config, BTreeMap::new()).err().unwrap();
        let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
        assert_eq!(paths, ["schedules[0].cron", "repository.url", "etcd.endpoint"]);
    }
}
