//! `sysring create`: makes a channel that is not there yet.

use sysring::Order;

use crate::args::{CreateArgs, OrderArg};
use crate::exit::Failure;

pub(crate) fn run(args: &CreateArgs) -> Result<(), Failure> {
    let mut builder = args.access.apply(if args.spsc { sysring::spsc() } else { sysring::mpsc() });
    builder = builder.persistent(!args.no_persistent);
    if !args.spsc {
        builder = builder.order(match args.order {
            OrderArg::Total => Order::Total,
            OrderArg::Sender => Order::PerSender,
        });
    }
    if let Some(senders) = args.senders {
        builder = builder.senders(senders);
    }
    if let Some(capacity) = args.capacity {
        builder = builder.capacity(capacity);
    }
    if let Some(max_message) = args.max_message {
        builder = builder.max_message(max_message);
    }
    builder.create(args.name.clone())?;
    Ok(())
}
