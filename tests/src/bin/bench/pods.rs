//! Pods as an API server stores them: much that repeats from pod to pod, and a few ids, digests and
//! times that do not. About 3.7 KiB each; zstd makes a twelfth of them.

use std::fmt::Write as _;

use bytes::Bytes;

const MANAGED_FIELDS: &str = concat!(
    r#"{"f:metadata":{"f:generateName":{},"f:labels":{".":{},"f:app":{},"#,
    r#""f:pod-template-hash":{}},"f:ownerReferences":{".":{}}},"#,
    r#""f:spec":{"f:containers":{"k:{\"name\":\"app\"}":{".":{},"f:env":{},"f:image":{},"#,
    r#""f:imagePullPolicy":{},"f:livenessProbe":{},"f:name":{},"f:ports":{},"#,
    r#""f:readinessProbe":{},"f:resources":{},"f:terminationMessagePath":{},"#,
    r#""f:terminationMessagePolicy":{}}},"f:dnsPolicy":{},"f:enableServiceLinks":{},"#,
    r#""f:restartPolicy":{},"f:schedulerName":{},"f:securityContext":{},"#,
    r#""f:terminationGracePeriodSeconds":{}}}"#,
);
const STATUS_FIELDS: &str = concat!(
    r#"{"f:status":{"f:conditions":{},"f:containerStatuses":{},"f:hostIP":{},"f:phase":{},"#,
    r#""f:podIP":{},"f:podIPs":{},"f:startTime":{}}}"#,
);
const CONTAINER: &str = concat!(
    r#""resources":{"limits":{"memory":"512Mi"},"requests":{"cpu":"100m","memory":"256Mi"}},"#,
    r#""livenessProbe":{"httpGet":{"path":"/healthz","port":8080,"scheme":"HTTP"},"#,
    r#""timeoutSeconds":1,"periodSeconds":10,"successThreshold":1,"failureThreshold":3},"#,
    r#""readinessProbe":{"httpGet":{"path":"/ready","port":8080,"scheme":"HTTP"},"#,
    r#""periodSeconds":5},"terminationMessagePath":"/dev/termination-log","#,
    r#""terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent""#,
);
const REST_OF_SPEC: &str = concat!(
    r#""restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","#,
    r#""tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","#,
    r#""effect":"NoExecute","tolerationSeconds":300},{"key":"node.kubernetes.io/unreachable","#,
    r#""operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],"priority":0,"#,
    r#""enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority""#,
);

/// The `n`-th pod. Each number always gives the same pod.
pub(crate) fn pod(n: u64) -> (Bytes, Bytes) {
    let mut random = Random(n.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let app = format!("service-{}", random.below(400));
    let namespace = format!("team-{}", random.below(40));
    let name = format!("{app}-{}-{n:x}", random.hex(9));
    let value = envelope(object(&mut random, &app, &namespace, &name).as_bytes());
    (format!("/registry/pods/{namespace}/{name}").into(), value.into())
}

/// Kubernetes' envelope around an object: what it is, the object, how that is encoded.
fn envelope(object: &[u8]) -> Vec<u8> {
    let mut bytes = b"k8s\0\x0a\x09\x0a\x02v1\x12\x03Pod\x12".to_vec();
    let mut len = object.len();
    while len >= 0x80 {
        bytes.push(u8::try_from(len & 0x7f).unwrap_or_default() | 0x80);
        len >>= 7;
    }
    bytes.push(u8::try_from(len).unwrap_or_default());
    bytes.extend_from_slice(object);
    bytes.extend_from_slice(b"\x22\x10application/json");
    bytes
}

fn object(random: &mut Random, app: &str, namespace: &str, name: &str) -> String {
    let mut json = format!(
        "{{\"kind\":\"Pod\",\"apiVersion\":\"v1\",\"metadata\":{{\"name\":\"{name}\",\
         \"namespace\":\"{namespace}\",\"uid\":\"{}\",\
         \"creationTimestamp\":\"{}\",\"labels\":{{\"app\":\"{app}\",\
         \"pod-template-hash\":\"{}\"}},\
         \"annotations\":{{\"prometheus.io/scrape\":\"true\",\"prometheus.io/port\":\"9090\"}},\
         \"ownerReferences\":[{{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\",\
         \"name\":\"{app}\",\"uid\":\"{}\",\
         \"controller\":true,\"blockOwnerDeletion\":true}}],\"managedFields\":[",
        random.uid(),
        random.time(),
        random.hex(9),
        random.uid(),
    );
    for (manager, fields) in
        [("kube-controller-manager", MANAGED_FIELDS), ("kubelet", STATUS_FIELDS)]
    {
        let time = random.time();
        // Writing to a String cannot fail.
        let _ = write!(
            json,
            "{{\"manager\":\"{manager}\",\"operation\":\"Update\",\"time\":\"{time}\",\
             \"fieldsV1\":{fields}}},"
        );
    }
    let _ = write!(
        json,
        "]}},\"spec\":{{\"containers\":[{{\"name\":\"app\",\
         \"image\":\"registry.local/{namespace}/{app}:v1.{}.{}\",\
         \"env\":[{{\"name\":\"LOG_LEVEL\",\"value\":\"info\"}},{{\"name\":\"DATABASE_URL\",\
         \"value\":\"postgres://{app}.db.svc.cluster.local:5432/{app}\"}}],{CONTAINER}}}],\
         {REST_OF_SPEC},\"nodeName\":\"ip-10-{}-{}-{}.internal\"}},\
         \"status\":{{\"phase\":\"Running\",\"conditions\":[",
        random.below(40),
        random.below(20),
        random.below(4),
        random.below(256),
        random.below(256),
    );
    for condition in
        ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]
    {
        let time = random.time();
        let _ = write!(
            json,
            "{{\"type\":\"{condition}\",\"status\":\"True\",\"lastProbeTime\":null,\
             \"lastTransitionTime\":\"{time}\"}},"
        );
    }
    let _ = write!(
        json,
        "],\"hostIP\":\"10.0.{}.{}\",\"podIP\":\"10.{}.{}.{}\",\"startTime\":\"{}\",\
         \"containerStatuses\":[{{\"name\":\"app\",\
         \"state\":{{\"running\":{{\"startedAt\":\"{}\"}}}},\"ready\":true,\"restartCount\":{},\
         \"imageID\":\"registry.local/{app}@sha256:{}\",\"containerID\":\"containerd://{}\"}}],\
         \"qosClass\":\"Burstable\"}}}}",
        random.below(256),
        random.below(256),
        random.below(256),
        random.below(256),
        random.below(256),
        random.time(),
        random.time(),
        random.below(9),
        Random(app.len() as u64 + 1).hex(64),
        random.hex(64),
    );
    json
}

/// xorshift: repeatable, and plenty for test data.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn hex(&mut self, digits: usize) -> String {
        let mut text = String::new();
        while text.len() < digits {
            let _ = write!(text, "{:016x}", self.next());
        }
        text.truncate(digits);
        text
    }

    fn uid(&mut self) -> String {
        format!("{}-{}-{}-{}-{}", self.hex(8), self.hex(4), self.hex(4), self.hex(4), self.hex(12))
    }

    fn time(&mut self) -> String {
        let (day, second) = (self.below(28) + 1, self.below(86_400));
        format!("2026-11-{day:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
    }
}
