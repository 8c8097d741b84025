//! What `write_struct.rs` and `read_struct.rs` send: a struct, and its bytes.
//!
//! The bytes are written out field by field, little-endian, so that they mean the same to every
//! program, whatever its compiler does to the struct.
#![allow(dead_code, reason = "one program encodes, the other decodes")]

/// One value that a sensor has measured.
#[derive(Debug, PartialEq)]
pub(crate) struct Measurement {
    pub(crate) sensor: u32,
    /// Seconds since 1970.
    pub(crate) time: u64,
    pub(crate) celsius: f64,
    pub(crate) place: String,
}

impl Measurement {
    /// Sensor, time, temperature, and the place as the rest.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.sensor.to_le_bytes());
        bytes.extend(self.time.to_le_bytes());
        bytes.extend(self.celsius.to_le_bytes());
        bytes.extend(self.place.as_bytes());
        bytes
    }

    /// `None` if the bytes are too few or the place is not UTF-8.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Measurement> {
        let (sensor, rest) = bytes.split_first_chunk()?;
        let (time, rest) = rest.split_first_chunk()?;
        let (celsius, place) = rest.split_first_chunk()?;
        Some(Measurement {
            sensor: u32::from_le_bytes(*sensor),
            time: u64::from_le_bytes(*time),
            celsius: f64::from_le_bytes(*celsius),
            place: String::from_utf8(place.to_vec()).ok()?,
        })
    }
}
