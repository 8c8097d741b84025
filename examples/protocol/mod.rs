//! What `client.rs` and `server.rs` send to each other.
//!
//! Requests of all clients go through the channel NAME, replies to the client with process id PID
//! through the channel NAME.reply.PID, which that client has made for itself.
#![allow(dead_code, reason = "one program encodes what the other decodes")]

/// The channel for the replies to one client.
pub(crate) fn reply_channel(name: &str, client: u32) -> String {
    format!("{name}.reply.{client}")
}

/// Process id and request number, little-endian, then the text.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) client: u32,
    pub(crate) number: u64,
    pub(crate) text: Vec<u8>,
}

impl Request {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [&self.client.to_le_bytes()[..], &self.number.to_le_bytes(), &self.text].concat()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Request> {
        let (client, rest) = bytes.split_first_chunk()?;
        let (number, text) = rest.split_first_chunk()?;
        Some(Request {
            client: u32::from_le_bytes(*client),
            number: u64::from_le_bytes(*number),
            text: text.to_vec(),
        })
    }
}

/// Number of the request, little-endian, then the text.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) number: u64,
    pub(crate) text: Vec<u8>,
}

impl Reply {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        [&self.number.to_le_bytes()[..], &self.text].concat()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Reply> {
        let (number, text) = bytes.split_first_chunk()?;
        Some(Reply { number: u64::from_le_bytes(*number), text: text.to_vec() })
    }
}
