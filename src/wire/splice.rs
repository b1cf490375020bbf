//! Called by whatever forwards a line: the line as it was received, with a few ranges replaced. The bytes between the
//! ranges are the very bytes that came in.

use bytes::Bytes;
use compact_str::CompactString;
use smallvec::SmallVec;

use super::scan::Span;

/// A line with ranges to be replaced when it is written out.
#[derive(Clone, Debug, Default)]
pub struct Splice {
    line: Bytes,
    /// Sorted by position, not overlapping.
    edits: SmallVec<[(Span, CompactString); 3]>,
}

impl Splice {
    /// The line as it is.
    pub fn new(line: Bytes) -> Splice {
        Splice { line, edits: SmallVec::new() }
    }

    /// Replaces `span` by `text`; an empty span inserts. Spans must not overlap.
    pub fn put(&mut self, span: Span, text: impl Into<CompactString>) {
        let place = self.edits.partition_point(|(other, _)| other.start <= span.start);
        let (before, behind) = self.edits.split_at(place);
        debug_assert!(
            before.last().is_none_or(|(other, _)| other.end <= span.start),
            "{span:?} overlaps {other:?}",
            other = before.last()
        );
        debug_assert!(
            behind.first().is_none_or(|(other, _)| span.end <= other.start),
            "{span:?} overlaps {other:?}",
            other = behind.first()
        );
        self.edits.insert(place, (span, text.into()));
    }

    /// [`Splice::put`] if the span is there at all.
    pub fn put_if(&mut self, span: Span, text: impl Into<CompactString>) {
        if span.found() {
            self.put(span, text);
        }
    }

    /// Tells of the pieces in order: kept ranges of the line and replacements.
    pub fn each(&self, mut tell: impl FnMut(Piece<'_>)) {
        let mut at = 0;
        for (span, text) in &self.edits {
            tell(Piece::Kept(at..span.start as usize));
            tell(Piece::Put(text));
            at = span.end.max(span.start) as usize;
        }
        tell(Piece::Kept(at..self.line.len()));
    }

    /// The line that was received.
    pub fn line(&self) -> &Bytes {
        &self.line
    }

    /// Bytes of the whole line as it will be written.
    pub fn size(&self) -> usize {
        let by = |(span, text): &(Span, CompactString)| (text.len(), span.end.saturating_sub(span.start) as usize);
        let put = self.edits.iter().map(by);
        put.fold(self.line.len(), |size, (more, less)| (size + more).saturating_sub(less))
    }

    /// The whole line as it will be written.
    pub fn to_bytes(&self) -> Bytes {
        let mut whole = Vec::with_capacity(self.line.len() + 32);
        self.each(|piece| match piece {
            Piece::Kept(range) => whole.extend_from_slice(&self.line[range]),
            Piece::Put(text) => whole.extend_from_slice(text.as_bytes()),
        });
        whole.into()
    }
}

/// A part of a spliced line.
#[derive(Debug)]
pub enum Piece<'a> {
    /// A range of the line that was received.
    Kept(std::ops::Range<usize>),
    /// What stands in place of a range.
    Put(&'a str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_replaced_in_any_order() {
        let mut splice = Splice::new(Bytes::from_static(b"0123456789"));
        splice.put(Span { start: 6, end: 8 }, "six");
        splice.put(Span { start: 1, end: 2 }, "");
        splice.put(Span { start: 4, end: 4 }, "+");
        assert_eq!(splice.to_bytes(), "023+45six89");
        assert_eq!(splice.size(), splice.to_bytes().len());
        assert_eq!(Splice::new(Bytes::from_static(b"ab")).to_bytes(), "ab");
    }
}
