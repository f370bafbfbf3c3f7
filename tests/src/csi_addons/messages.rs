//! The messages of csi-addons' sidecar, with the fields that are used here; others are skipped as unknown. From
//! `internal/proto/{replication,volumegroup}.proto` of the controller, which no other module may import, and
//! `identity/identity.proto` of `github.com/csi-addons/spec`.

use prost::{Enumeration, Message, Oneof};

/// EnableVolumeReplicationRequest and DisableVolumeReplicationRequest.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Switch {
    #[prost(message, optional, tag = "6")]
    pub(super) source: Option<Source>,
}

/// PromoteVolumeRequest, DemoteVolumeRequest and ResyncVolumeRequest.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ChangeRole {
    #[prost(bool, tag = "3")]
    pub(super) force: bool,
    #[prost(message, optional, tag = "7")]
    pub(super) source: Option<Source>,
}

/// GetVolumeReplicationInfoRequest.
#[derive(Clone, PartialEq, Message)]
pub(super) struct GetInfo {
    #[prost(message, optional, tag = "5")]
    pub(super) source: Option<Source>,
}

/// ReplicationSource.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Source {
    #[prost(oneof = "Of", tags = "1, 2")]
    pub(super) of: Option<Of>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Of {
    #[prost(message, tag = "1")]
    Volume(Handle),
    #[prost(message, tag = "2")]
    Group(Handle),
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Handle {
    #[prost(string, tag = "1")]
    pub(super) id: String,
}

/// ResyncVolumeResponse.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Resynced {
    #[prost(bool, tag = "1")]
    pub(super) ready: bool,
}

/// GetVolumeReplicationInfoResponse.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Info {
    #[prost(message, optional, tag = "1")]
    pub(super) last_sync_time: Option<Timestamp>,
    #[prost(enumeration = "Health", tag = "4")]
    pub(super) health: i32,
    #[prost(string, tag = "5")]
    pub(super) message: String,
}

/// `google.protobuf.Timestamp`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Timestamp {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
}

/// The health of a replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Enumeration)]
#[repr(i32)]
pub enum Health {
    Unknown = 0,
    Healthy = 1,
    Degraded = 2,
    Error = 3,
}

/// CreateVolumeGroupRequest.
#[derive(Clone, PartialEq, Message)]
pub(super) struct CreateGroup {
    #[prost(string, repeated, tag = "5")]
    pub(super) volumes: Vec<String>,
}

/// ModifyVolumeGroupMembershipRequest.
#[derive(Clone, PartialEq, Message)]
pub(super) struct ModifyGroup {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, repeated, tag = "2")]
    pub(super) volumes: Vec<String>,
}

/// CreateVolumeGroupResponse and ModifyVolumeGroupMembershipResponse.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Grouped {
    #[prost(message, optional, tag = "1")]
    pub(super) group: Option<Group>,
}

/// VolumeGroup.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Group {
    #[prost(string, tag = "1")]
    pub(super) id: String,
    #[prost(string, repeated, tag = "3")]
    pub(super) volumes: Vec<String>,
}

/// GetCapabilitiesResponse.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Capabilities {
    #[prost(message, repeated, tag = "1")]
    pub(super) capabilities: Vec<Capability>,
}

#[derive(Clone, PartialEq, Message)]
pub(super) struct Capability {
    #[prost(oneof = "Kind", tags = "1, 4, 5")]
    pub(super) kind: Option<Kind>,
}

#[derive(Clone, PartialEq, Oneof)]
pub(super) enum Kind {
    #[prost(message, tag = "1")]
    Service(Type),
    #[prost(message, tag = "4")]
    VolumeReplication(Type),
    #[prost(message, tag = "5")]
    VolumeGroup(Type),
}

/// CONTROLLER_SERVICE, VOLUME_REPLICATION and VOLUME_GROUP are all called 1.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Type {
    #[prost(int32, tag = "1")]
    pub(super) number: i32,
}
