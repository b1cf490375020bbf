//! Made by the catalogue for its file: what is known of a server as it is written to disk. It shares its texts with the
//! catalogue, so that another thread can write it.

use bytestring::ByteString;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::items::Items;
use super::key::VariantKey;
use super::kind::ListKind;
use super::seen::Seen;
use crate::era::Era;

/// What is kept of one server.
#[derive(Default, Serialize, Deserialize)]
pub struct Record {
    pub lacks: Vec<Era>,
    #[serde(default)]
    pub seen: Seen,
    pub asks_roots: bool,
    pub variants: Vec<VariantRecord>,
}

/// What is kept of a variant.
#[derive(Serialize, Deserialize)]
pub struct VariantRecord {
    pub key: VariantKey,
    pub introduction: Option<Raw>,
    pub lists: Vec<(ListKind, ListRecord)>,
}

/// What is kept of a list.
#[derive(Serialize, Deserialize)]
pub struct ListRecord {
    pub items: Items,
    pub rest: ByteString,
    pub ttl: Option<u64>,
    pub private: bool,
    pub uid: u32,
    /// It was announced to have changed.
    #[serde(default)]
    pub stale: bool,
}

/// A JSON value as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Raw(ByteString);

impl Raw {
    /// A text that is a JSON value.
    pub fn of(json: impl Into<ByteString>) -> Raw {
        Raw(json.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(self.0.to_string()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Raw, D::Error> {
        Box::<RawValue>::deserialize(deserializer).map(|raw| Raw::of(raw.get()))
    }
}
