//! The binary as a user meets it: processes, pipes, exit statuses and lines on stderr.

#![forbid(unsafe_code)]

mod demo;
mod doctor;
mod exits;
mod gc;
mod hostile;
mod observe;
mod prometheus;
mod schema;
mod signals;
mod support;
mod transfer;
mod users;
