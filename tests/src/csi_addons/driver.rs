//! A storage driver that replicates nothing: it answers as a test scripts it, and records its calls.
//!
//! The csi-addons controller calls a driver through its sidecar, which is played here as well: this is the sidecar's
//! protocol.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use failover_core::role::Role;
use prost::Message;
use prost::bytes::Bytes;
use tokio::sync::watch;

use super::grpc::{Code, Service};
use super::messages::{
    Capabilities, Capability, ChangeRole, CreateGroup, GetInfo, Group, Grouped, Health, Info, Kind,
    ModifyGroup, Of, Resynced, Source, Switch, Timestamp, Type,
};

/// The calls of a driver about a volume or a volume group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rpc {
    Enable,
    Disable,
    Promote,
    Demote,
    Resync,
    Info,
}

/// The answer to a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// It does what the call asks for; its replication is healthy.
    #[default]
    Done,
    /// The resync is still running.
    NotReady,
    /// It reports the health of the replication.
    Reports(Health),
    Fails(Code),
}

/// A received call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub rpc: Rpc,
    pub force: bool,
    pub at: Instant,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.rpc)?;
        f.write_str(if self.force { " by force" } else { "" })
    }
}

/// The real state of a volume, whatever its object says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaState {
    pub role: Role,
    pub in_sync: bool,
}

/// Keeps calls waiting until it is dropped.
#[derive(Debug)]
pub struct PausedCalls(
    #[expect(dead_code, reason = "it is there to be dropped")] watch::Sender<()>,
);

/// The replicas of all volumes, by their handles.
#[derive(Clone, Debug, Default)]
pub(super) struct Driver(Arc<Mutex<HashMap<String, Replica>>>);

#[derive(Debug, Default)]
struct Replica {
    state: Option<ReplicaState>,
    calls: Vec<Call>,
    scripts: BTreeMap<Rpc, Script>,
}

#[derive(Debug, Default)]
struct Script {
    next: VecDeque<Answer>,
    then: Answer,
    paused: Option<watch::Receiver<()>>,
}

impl Driver {
    /// Sets the answers, call by call; the last one is repeated.
    pub(super) fn script(&self, handle: &str, rpc: Rpc, answers: &[Answer]) {
        let (last, first) = answers.split_last().expect("at least one answer");
        let mut replicas = self.replicas();
        let script = script(&mut replicas, handle, rpc);
        script.next = first.iter().copied().collect();
        script.then = *last;
    }

    pub(super) fn pause(&self, handle: &str, rpc: Rpc) -> PausedCalls {
        let (paused, until_dropped) = watch::channel(());
        script(&mut self.replicas(), handle, rpc).paused = Some(until_dropped);
        PausedCalls(paused)
    }

    pub(super) fn calls(&self, handle: &str) -> Vec<Call> {
        let replicas = self.replicas();
        replicas
            .get(handle)
            .map_or(vec![], |replica| replica.calls.clone())
    }

    pub(super) fn state(&self, handle: &str) -> Option<ReplicaState> {
        self.replicas().get(handle)?.state
    }

    fn replicas(&self) -> MutexGuard<'_, HashMap<String, Replica>> {
        self.0.lock().expect("no panic while it is held")
    }

    async fn replicate(
        &self,
        rpc: Rpc,
        force: bool,
        source: Option<Source>,
    ) -> Result<Vec<u8>, Code> {
        let handle = match source.and_then(|source| source.of) {
            Some(Of::Volume(handle) | Of::Group(handle)) => handle.id,
            None => return Err(Code::NotFound),
        };
        let paused = {
            let mut replicas = self.replicas();
            let call = Call {
                rpc,
                force,
                at: Instant::now(),
            };
            replicas.entry(handle.clone()).or_default().calls.push(call);
            script(&mut replicas, &handle, rpc).paused.clone()
        };
        if let Some(mut paused) = paused {
            let _ = paused.changed().await; // an error means that it was dropped
        }
        let mut replicas = self.replicas();
        let script = script(&mut replicas, &handle, rpc);
        let answer = script.next.pop_front().unwrap_or(script.then);
        replicas
            .get_mut(&handle)
            .expect("scripted above")
            .answer(rpc, answer)
    }
}

impl Replica {
    fn answer(&mut self, rpc: Rpc, answer: Answer) -> Result<Vec<u8>, Code> {
        if let Answer::Fails(code) = answer {
            return Err(code);
        }
        let is_secondary = self.state.is_some_and(|s| s.role == Role::Secondary);
        match rpc {
            Rpc::Promote => {
                self.state = Some(ReplicaState {
                    role: Role::Primary,
                    in_sync: true,
                });
            }
            // csi-addons repeats this call with every reconcile of a secondary.
            Rpc::Demote if is_secondary => {}
            Rpc::Demote => {
                self.state = Some(ReplicaState {
                    role: Role::Secondary,
                    in_sync: false,
                });
            }
            Rpc::Resync => {
                self.state = Some(ReplicaState {
                    role: Role::Secondary,
                    in_sync: answer != Answer::NotReady,
                });
            }
            Rpc::Enable | Rpc::Disable | Rpc::Info => {}
        }
        Ok(match rpc {
            Rpc::Resync => Resynced {
                ready: answer != Answer::NotReady,
            }
            .encode_to_vec(),
            Rpc::Info => info(answer).encode_to_vec(),
            Rpc::Enable | Rpc::Disable | Rpc::Promote | Rpc::Demote => vec![],
        })
    }
}

impl Service for Driver {
    async fn call(&self, method: &str, message: Bytes) -> Result<Vec<u8>, Code> {
        let (service, method) = method.rsplit_once('/').ok_or(Code::Unimplemented)?;
        match (service, method) {
            ("/identity.Identity", "GetCapabilities") => Ok(capabilities().encode_to_vec()),
            ("/proto.Replication", "EnableVolumeReplication") => {
                let request: Switch = read(message)?;
                self.replicate(Rpc::Enable, false, request.source).await
            }
            ("/proto.Replication", "DisableVolumeReplication") => {
                let request: Switch = read(message)?;
                self.replicate(Rpc::Disable, false, request.source).await
            }
            ("/proto.Replication", "PromoteVolume") => {
                self.change_role(Rpc::Promote, message).await
            }
            ("/proto.Replication", "DemoteVolume") => self.change_role(Rpc::Demote, message).await,
            ("/proto.Replication", "ResyncVolume") => self.change_role(Rpc::Resync, message).await,
            ("/proto.Replication", "GetVolumeReplicationInfo") => {
                let request: GetInfo = read(message)?;
                self.replicate(Rpc::Info, false, request.source).await
            }
            ("/proto.VolumeGroupController", "CreateVolumeGroup") => {
                let CreateGroup { volumes } = read(message)?;
                let id = group_handle(&volumes);
                Ok(grouped(Group { id, volumes }))
            }
            ("/proto.VolumeGroupController", "ModifyVolumeGroupMembership") => {
                let ModifyGroup { id, volumes } = read(message)?;
                Ok(grouped(Group { id, volumes }))
            }
            ("/proto.VolumeGroupController", "DeleteVolumeGroup") => Ok(vec![]),
            _ => Err(Code::Unimplemented),
        }
    }
}

impl Driver {
    async fn change_role(&self, rpc: Rpc, message: Bytes) -> Result<Vec<u8>, Code> {
        let request: ChangeRole = read(message)?;
        self.replicate(rpc, request.force, request.source).await
    }
}

/// The handle of a group of these volumes.
pub(super) fn group_handle(volumes: &[String]) -> String {
    volumes.join("+")
}

fn script<'a>(
    replicas: &'a mut HashMap<String, Replica>,
    handle: &str,
    rpc: Rpc,
) -> &'a mut Script {
    let replica = replicas.entry(handle.to_owned()).or_default();
    replica.scripts.entry(rpc).or_default()
}

fn read<M: Message + Default>(message: Bytes) -> Result<M, Code> {
    M::decode(message).map_err(|_| Code::Internal)
}

fn grouped(group: Group) -> Vec<u8> {
    Grouped { group: Some(group) }.encode_to_vec()
}

fn info(answer: Answer) -> Info {
    let health = match answer {
        Answer::Reports(health) => health,
        Answer::Done | Answer::NotReady | Answer::Fails(_) => Health::Healthy,
    };
    Info {
        // Only its presence matters, not its value.
        last_sync_time: Some(Timestamp {
            seconds: 1_800_000_000,
        }),
        health: health.into(),
        message: format!("the replication is {health:?}"),
    }
}

fn capabilities() -> Capabilities {
    let one = || Type { number: 1 };
    let kinds = [
        Kind::Service(one()),
        Kind::VolumeReplication(one()),
        Kind::VolumeGroup(one()),
    ];
    Capabilities {
        capabilities: kinds.map(|kind| Capability { kind: Some(kind) }).into(),
    }
}
