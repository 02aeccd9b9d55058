//! The page of a ticket: what is on it in words, and the same in a QR code for the door.
//!
//! The same ticket is the same page, byte for byte, however often it is made.

use pdf_writer::{Content, Finish, Name, Pdf, Rect, Ref, Str, TextStr};
use qrcode::{Color, EcLevel, QrCode, types::QrError};

/// The page, in points: A6, upright.
const WIDTH: f32 = 297.6;
const HEIGHT: f32 = 419.5;
const MARGIN: f32 = 36.0;
/// The side of the QR code; the margin round it is more than the four modules that scanners ask for.
const CODE_SIDE: f32 = WIDTH - 2.0 * MARGIN;

const CATALOG: Ref = Ref::new(1);
const PAGES: Ref = Ref::new(2);
const PAGE: Ref = Ref::new(3);
const CONTENT: Ref = Ref::new(4);
const FONT: Ref = Ref::new(5);
const ABOUT: Ref = Ref::new(6);

const FONT_NAME: Name<'static> = Name(b"Text");

/// What a ticket says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TicketPage<'a> {
    pub(crate) ticket: i64,
    pub(crate) order: &'a str,
    pub(crate) event: &'a str,
    pub(crate) holder: &'a str,
    pub(crate) seat: &'a str,
}

impl TicketPage<'_> {
    /// What the QR code says, one fact a line. Nothing in it is signed: the door has to look the ticket up.
    pub(crate) fn code(&self) -> String {
        let TicketPage { ticket, order, event, holder, seat } = self;
        format!("ticket: {ticket}\norder: {order}\nevent: {event}\nseat: {seat}\nholder: {holder}")
    }

    /// The page as a PDF.
    ///
    /// # Errors
    /// When the ticket says more than a QR code holds (2,331 bytes).
    pub(crate) fn pdf(&self) -> Result<Vec<u8>, QrError> {
        let mut content = Content::new();
        draw_code(&mut content, &QrCode::with_error_correction_level(self.code(), EcLevel::M)?);
        self.write_words(&mut content);

        let mut pdf = Pdf::new();
        pdf.catalog(CATALOG).pages(PAGES);
        pdf.pages(PAGES).kids([PAGE]).count(1);
        let mut page = pdf.page(PAGE);
        page.media_box(Rect::new(0.0, 0.0, WIDTH, HEIGHT)).parent(PAGES).contents(CONTENT);
        page.resources().fonts().pair(FONT_NAME, FONT);
        page.finish();
        // One of the fonts that every reader has; so none needs to be in the file.
        pdf.type1_font(FONT).base_font(Name(b"Helvetica")).encoding_predefined(Name(b"WinAnsiEncoding"));
        pdf.stream(CONTENT, &content.finish());
        pdf.document_info(ABOUT).title(TextStr(&format!("Ticket {} of order {}", self.ticket, self.order)));
        Ok(pdf.finish())
    }

    fn write_words(&self, content: &mut Content) {
        let number = format!("Ticket {}, order {}", self.ticket, self.order);
        let lines = [(16.0, self.event), (12.0, self.holder), (12.0, self.seat), (8.0, &number)];
        let mut baseline = HEIGHT - MARGIN - CODE_SIDE;
        for (size, line) in lines {
            baseline -= 1.8 * size;
            content.begin_text().set_font(FONT_NAME, size).next_line(MARGIN, baseline);
            content.show(Str(&in_the_fonts_letters(line))).end_text();
        }
    }
}

/// Draws the code's dark modules, each run of them in a row as one rectangle.
fn draw_code(content: &mut Content, code: &QrCode) {
    let modules = code.to_colors();
    content.save_state();
    // From here on, a module is one unit wide, and the code's corner at the lower left is the origin.
    #[expect(clippy::cast_precision_loss, reason = "a QR code has 177 modules a side at most")]
    let module = CODE_SIDE / code.width() as f32;
    content.transform([module, 0.0, 0.0, module, MARGIN, HEIGHT - MARGIN - CODE_SIDE]);
    for (row, modules) in modules.chunks(code.width()).rev().enumerate() {
        let mut column = 0;
        for run in modules.chunk_by(|left, right| left == right) {
            if run[0] == Color::Dark {
                #[expect(clippy::cast_precision_loss, reason = "a QR code has 177 modules a side at most")]
                content.rect(column as f32, row as f32, run.len() as f32, 1.0);
            }
            column += run.len();
        }
    }
    content.fill_nonzero().restore_state();
}

/// The text in the font's encoding; what it has no letter for becomes a question mark. The QR code has it all.
fn in_the_fonts_letters(text: &str) -> Vec<u8> {
    // Where WinAnsi and Latin-1 are the same.
    let has = |letter: &char| matches!(letter, ' '..='~' | '\u{A1}'..='\u{FF}');
    let byte = |letter: char| Some(letter).filter(has).and_then(|letter| u8::try_from(letter).ok());
    text.chars().map(|letter| byte(letter).unwrap_or(b'?')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_same_page_however_often_it_is_made() {
        let page = TicketPage { ticket: 7, order: "o-7", event: "Gala", holder: "Ada", seat: "C 12" };
        assert_eq!(page.pdf().unwrap(), page.pdf().unwrap());
        assert_ne!(page.pdf().unwrap(), TicketPage { seat: "C 13", ..page }.pdf().unwrap());
    }

    #[test]
    fn has_room_for_the_longest_fields() {
        let long = "ł".repeat(100);
        let order = "o".repeat(64);
        let page = TicketPage { ticket: i64::MAX, order: &order, event: &long, holder: &long, seat: &long };
        assert!(page.pdf().is_ok());
    }

    #[test]
    fn writes_the_letters_it_has() {
        assert_eq!(in_the_fonts_letters("Zoë (c)"), b"Zo\xEB (c)");
        assert_eq!(in_the_fonts_letters("Łódź\n"), b"?\xF3d??");
    }
}
