//! The text that a config comes from, and what was laid over it: flags and environment variables.
//!
//! A value that came from a flag or a variable gets a span beyond the end of the text, so that whatever is wrong
//! with it is said of that flag or variable.

use std::ops::Range;

use super::error::Place;

/// Where the values of a config come from.
#[derive(Debug)]
pub(super) struct Source<'t> {
    pub(super) name: &'t str,
    pub(super) text: &'t str,
    overlays: Vec<Place>,
}

impl<'t> Source<'t> {
    pub(super) fn new(name: &'t str, text: &'t str) -> Self {
        Self { name, text, overlays: Vec::new() }
    }

    /// A span for a value that comes from `place`.
    pub(super) fn overlay(&mut self, place: Place) -> Range<usize> {
        let start = self.text.len() + 1 + self.overlays.len();
        self.overlays.push(place);
        start..start + 1
    }

    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let overlay = span.start.checked_sub(self.text.len() + 1).and_then(|index| self.overlays.get(index));
        match overlay {
            Some(place) => place.clone(),
            None if self.text.is_empty() => Place::File(self.name.into()),
            None => Place::in_text(self.name, self.text, span),
        }
    }
}
