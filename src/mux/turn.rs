//! Called with everything that happens: one turn of the one thread. A message comes in, and everything that follows
//! from it is done before the next one is looked at. Nothing in a turn waits. A call that must wait stands somewhere as
//! data, with a deadline.

use super::Mux;
use super::call::Place;
use super::todo::Todo;
use crate::clock;

impl Mux {
    /// Runs one turn: `work`, and then everything that it left to do.
    pub(crate) fn turn<T>(&mut self, work: impl FnOnce(&mut Mux) -> T) -> T {
        let told = work(self);
        self.end_turn();
        #[cfg(debug_assertions)]
        super::check::after_turn(self);
        told
    }

    /// Does what is owed, then a slice of the backlog, and what follows from that. The rest is left to the next turns.
    fn end_turn(&mut self) {
        for slice in [true, false] {
            while let Some(todo) = self.todo.take() {
                self.settle_todo(todo);
            }
            if slice && self.backlog.is_waiting() {
                self.work_off();
            }
        }
        self.backlog.leave_rest();
        self.note_drained();
    }

    fn settle_todo(&mut self, todo: Todo) {
        match todo {
            // One that is with an instance is not sent twice.
            Todo::Place(call) if self.calls.get(call).is_some_and(|call| matches!(call.place, Place::On(..))) => {}
            Todo::Place(call) => self.place(call),
            Todo::Begin(call) => self.begin_again(call),
            Todo::Fail(call, error) => self.fail(call, error),
            Todo::Serve(server) => self.serve(server),
            Todo::Stream(server) => self.adjust_stream(server),
            Todo::Leave(call) => self.unsubscribe_from(call),
            Todo::KeepMin(server) => self.keep_min(server),
            Todo::Dismiss(at) => self.dismiss(at),
            Todo::Overdue(call) => {
                let now = clock::now();
                self.overdue(call, now);
                // It may have got more time.
                let later = self.calls.get(call).map(|call| call.deadline).filter(|deadline| *deadline > now);
                later.into_iter().for_each(|deadline| self.alarm.at(deadline));
            }
            Todo::Arrived(server, profile) => self.announce_arrival(server, &profile),
            Todo::End => self.close(),
        }
    }
}
