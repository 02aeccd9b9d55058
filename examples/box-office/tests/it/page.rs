//! Reads the page of a ticket as a stranger does: by the PDF's own table of what is where, and the code by looking at it.

use rqrr::PreparedImage;

/// Dots a point, enough for the smallest module.
const DOTS_PER_POINT: f32 = 3.0;

/// A page that was read.
pub(crate) struct Page {
    /// The text shown, a string each.
    pub(crate) words: Vec<Vec<u8>>,
    /// What the QR code says.
    pub(crate) code: String,
}

pub(crate) fn read(pdf: &[u8]) -> Page {
    assert!(pdf.starts_with(b"%PDF-1.7\n") && pdf.ends_with(b"%%EOF"), "no PDF from end to end");
    let objects = objects(pdf);
    let has = |text: &[u8]| objects.iter().any(|object| find(object, text).is_some());
    for needed in [&b"/Type /Catalog"[..], b"/Type /Pages", b"/Type /Page\n", b"/BaseFont /Helvetica"] {
        assert!(has(needed), "{} is missing", String::from_utf8_lossy(needed));
    }
    let streams: Vec<_> = objects.iter().filter_map(|object| stream(object)).collect();
    assert_eq!(streams.len(), 1, "one page has one content");
    let content = streams[0];
    Page { words: words(content), code: scan(&rectangles(content)) }
}

/// The objects where the cross-reference table says that they are, each up to its `endobj`.
fn objects(pdf: &[u8]) -> Vec<&[u8]> {
    let start = last(pdf, b"startxref\n") + b"startxref\n".len();
    let table = number(&pdf[start..]);
    let table = std::str::from_utf8(&pdf[table..last(pdf, b"trailer")]).unwrap();
    let mut lines = table.lines();
    assert_eq!(lines.next(), Some("xref"));
    let count: usize = lines.next().unwrap().strip_prefix("0 ").unwrap().parse().unwrap();
    let in_use = |(id, line): (usize, &str)| {
        line.trim_end().strip_suffix(" n").map(|entry| (id, entry[..10].parse::<usize>().unwrap()))
    };
    let entries: Vec<_> = lines.enumerate().filter_map(in_use).collect();
    assert_eq!(entries.len(), count - 1);
    let object = |(id, offset): (usize, usize)| {
        let object = &pdf[offset..];
        assert!(
            object.starts_with(format!("{id} 0 obj").as_bytes()),
            "object {id} is not where it should be"
        );
        &object[..find(object, b"endobj").unwrap()]
    };
    entries.into_iter().map(object).collect()
}

/// The stream of an object that has one, as long as it says.
fn stream(object: &[u8]) -> Option<&[u8]> {
    let start = find(object, b"stream\n")? + b"stream\n".len();
    let length = number(&object[find(object, b"/Length ")? + b"/Length ".len()..]);
    assert!(object[start + length..].trim_ascii_start().starts_with(b"endstream"));
    Some(&object[start..start + length])
}

/// The strings that are shown: as they are, or, where a letter is no ASCII, in hexadecimal.
fn words(content: &[u8]) -> Vec<Vec<u8>> {
    let content = String::from_utf8_lossy(content);
    let shown = |line: &str| {
        let string = line.strip_suffix(" Tj")?;
        if let Some(plain) = string.strip_prefix('(') {
            return Some(plain.strip_suffix(')')?.as_bytes().to_vec());
        }
        let digits = string.strip_prefix('<')?.strip_suffix('>')?;
        let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        Some((0..digits.len()).step_by(2).map(byte).collect())
    };
    content.lines().filter_map(shown).collect()
}

/// The rectangles on the page, in points: left, bottom, width, height.
fn rectangles(content: &[u8]) -> Vec<[f32; 4]> {
    let mut scale = [1.0, 1.0, 0.0, 0.0];
    let mut rectangles = Vec::new();
    for line in String::from_utf8_lossy(content).lines() {
        let tokens: Vec<_> = line.split_ascii_whitespace().collect();
        let numbers: Vec<f32> = tokens.iter().filter_map(|token| token.parse().ok()).collect();
        match (tokens.last(), numbers.as_slice()) {
            (Some(&"cm"), &[a, _, _, d, e, f]) => scale = [a, d, e, f],
            (Some(&"re"), &[x, y, width, height]) => {
                let [a, d, e, f] = scale;
                rectangles.push([a * x + e, d * y + f, a * width, d * height]);
            }
            _ => {}
        }
    }
    rectangles
}

/// Paints the rectangles and looks for a QR code.
fn scan(rectangles: &[[f32; 4]]) -> String {
    let right = rectangles.iter().map(|[x, _, width, _]| x + width).fold(0.0, f32::max);
    let top = rectangles.iter().map(|[_, y, _, height]| y + height).fold(0.0, f32::max);
    let dots = |points: f32| (points * DOTS_PER_POINT).round() as usize;
    let (width, height) = (dots(right) + 100, dots(top) + 100);
    let mut dark = vec![false; width * height];
    for [x, y, wide, high] in rectangles {
        // A page's origin is at the bottom, an image's at the top.
        for row in dots(top - y - high)..dots(top - y) {
            dark[(row + 50) * width..][dots(*x)..dots(x + wide)].fill(true);
        }
    }
    let mut image = PreparedImage::prepare_from_bitmap(width, height, |x, y| dark[y * width + x]);
    let grids = image.detect_grids();
    assert_eq!(grids.len(), 1, "one code is on the page");
    grids[0].decode().unwrap().1
}

fn find(bytes: &[u8], text: &[u8]) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text)
}

fn last(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).rposition(|window| window == text).unwrap()
}

fn number(bytes: &[u8]) -> usize {
    let digits = bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&bytes[..digits]).unwrap().parse().unwrap()
}
