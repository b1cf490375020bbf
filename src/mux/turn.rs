//! A turn of the one thread: a message comes in, and everything that follows from it is done before the next one is looked
//! at. Nothing in it waits. What must wait stands somewhere as data, with a deadline.

use super::Mux;
use super::todo::Todo;
use crate::clock;

impl Mux {
    /// Runs one turn: `work`, and then everything that it left to do.
    pub(crate) fn turn<T>(&mut self, work: impl FnOnce(&mut Mux) -> T) -> T {
        let told = work(self);
        self.do_owed();
        self.end_turn();
        self.do_owed();
        #[cfg(debug_assertions)]
        super::check::after_turn(self);
        told
    }

    fn do_owed(&mut self) {
        while let Some(todo) = self.todo.take() {
            self.settle_todo(todo);
        }
    }

    fn settle_todo(&mut self, todo: Todo) {
        match todo {
            Todo::Place(call) => self.place(call),
            Todo::Begin(call) => self.begin_again(call),
            Todo::Fail(call, error) => self.fail(call, error),
            Todo::Serve(server) => self.serve(server),
            Todo::Stream(server) => self.adjust_stream(server),
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
