//! A short text that is made on every request: what is digested of it, or told of a limit. It is made without a formatter,
//! and without memory of its own where it is as short as that of one limit.

/// How long a text is that takes up no memory of its own, in bytes.
const SHORT_BYTES: usize = 96;

/// See the [module](self)'s words.
pub(super) struct Text {
    short: [u8; SHORT_BYTES],
    length: usize,
    long: Vec<u8>,
}

impl Default for Text {
    fn default() -> Self {
        Self { short: [0; SHORT_BYTES], length: 0, long: Vec::new() }
    }
}

impl Text {
    pub(super) fn put(&mut self, bytes: &[u8]) {
        if self.long.is_empty() {
            if let Some(room) = self.short.get_mut(self.length..self.length + bytes.len()) {
                room.copy_from_slice(bytes);
                self.length += bytes.len();
                return;
            }
            self.long.extend_from_slice(&self.short[..self.length]);
        }
        self.long.extend_from_slice(bytes);
    }

    pub(super) fn put_number(&mut self, number: u64) {
        self.put(itoa::Buffer::new().format(number).as_bytes());
    }

    pub(super) fn bytes(&self) -> &[u8] {
        if self.long.is_empty() { &self.short[..self.length] } else { &self.long }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes().len()
    }
}
