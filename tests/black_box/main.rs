//! mcpool from outside: callers and servers made of lines, around the whole multiplexer in one thread. Each file
//! holds one promise; what they share is in `support`.

mod asks;
mod cancel;
mod catalogue;
mod ids_and_tokens;
mod roots;
mod sharing;
mod support;
