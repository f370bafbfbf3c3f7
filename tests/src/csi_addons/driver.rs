//! A storage driver that replicates nothing: it does what a test has it do, and remembers what it was asked.
//!
//! It is asked through the sidecar that stands before every driver, and which is played here as well: what the csi-addons
//! controller speaks is the sidecar's protocol.

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
    Ask, Capabilities, Capability, CreateGroup, Group, Grouped, Health, Info, Kind, ModifyGroup,
    Of, Resynced, Source, Switch, Timestamp, Turn, Type,
};

/// What a driver is asked about a volume, or a group of volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rpc {
    Enable,
    Disable,
    Promote,
    Demote,
    Resync,
    Info,
}

/// What it does then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Answer {
    /// What it is asked for; its replication is healthy.
    #[default]
    Done,
    /// A resync that goes on.
    NotReady,
    /// It tells how the replication is.
    Tells(Health),
    Fails(Code),
}

/// One call that it got.
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

/// What the volume really is, whatever its object says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stand {
    pub role: Role,
    pub in_sync: bool,
}

/// Calls wait until this is dropped.
#[derive(Debug)]
pub struct Held(#[expect(dead_code, reason = "it is there to be dropped")] watch::Sender<()>);

/// One for all volumes, by their handles.
#[derive(Clone, Debug, Default)]
pub(super) struct Driver(Arc<Mutex<HashMap<String, Replica>>>);

#[derive(Debug, Default)]
struct Replica {
    stand: Option<Stand>,
    calls: Vec<Call>,
    scripts: BTreeMap<Rpc, Script>,
}

#[derive(Debug, Default)]
struct Script {
    next: VecDeque<Answer>,
    then: Answer,
    held: Option<watch::Receiver<()>>,
}

impl Driver {
    /// Answers so, call by call, and with the last for ever.
    pub(super) fn script(&self, handle: &str, rpc: Rpc, answers: &[Answer]) {
        let (last, first) = answers.split_last().expect("at least one answer");
        let mut replicas = self.replicas();
        let script = script(&mut replicas, handle, rpc);
        script.next = first.iter().copied().collect();
        script.then = *last;
    }

    pub(super) fn hold(&self, handle: &str, rpc: Rpc) -> Held {
        let (held, until_dropped) = watch::channel(());
        script(&mut self.replicas(), handle, rpc).held = Some(until_dropped);
        Held(held)
    }

    pub(super) fn calls(&self, handle: &str) -> Vec<Call> {
        let replicas = self.replicas();
        replicas
            .get(handle)
            .map_or(vec![], |replica| replica.calls.clone())
    }

    pub(super) fn stand(&self, handle: &str) -> Option<Stand> {
        self.replicas().get(handle)?.stand
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
        let held = {
            let mut replicas = self.replicas();
            let call = Call {
                rpc,
                force,
                at: Instant::now(),
            };
            replicas.entry(handle.clone()).or_default().calls.push(call);
            script(&mut replicas, &handle, rpc).held.clone()
        };
        if let Some(mut held) = held {
            let _ = held.changed().await; // an error: it was dropped, as is meant
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
        let is_secondary = self.stand.is_some_and(|s| s.role == Role::Secondary);
        match rpc {
            Rpc::Promote => {
                self.stand = Some(Stand {
                    role: Role::Primary,
                    in_sync: true,
                });
            }
            // It is repeated with every look at a secondary.
            Rpc::Demote if is_secondary => {}
            Rpc::Demote => {
                self.stand = Some(Stand {
                    role: Role::Secondary,
                    in_sync: false,
                });
            }
            Rpc::Resync => {
                self.stand = Some(Stand {
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
            ("/proto.Replication", "PromoteVolume") => self.turn(Rpc::Promote, message).await,
            ("/proto.Replication", "DemoteVolume") => self.turn(Rpc::Demote, message).await,
            ("/proto.Replication", "ResyncVolume") => self.turn(Rpc::Resync, message).await,
            ("/proto.Replication", "GetVolumeReplicationInfo") => {
                let request: Ask = read(message)?;
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
    async fn turn(&self, rpc: Rpc, message: Bytes) -> Result<Vec<u8>, Code> {
        let request: Turn = read(message)?;
        self.replicate(rpc, request.force, request.source).await
    }
}

/// What a group of these volumes is called.
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
        Answer::Tells(health) => health,
        Answer::Done | Answer::NotReady | Answer::Fails(_) => Health::Healthy,
    };
    Info {
        // What it is does not matter, only that it is there.
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
