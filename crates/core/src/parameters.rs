//! Header values of the form `value; name=token; name="quoted"`, as Content-Type and Content-Disposition are.

/// A value in lower case, and its parameters in the order they came: names in lower case, values unquoted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parameterised {
    pub(crate) value: Vec<u8>,
    pub(crate) parameters: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Parameterised {
    /// Reads one, or `None` where it can be read in more than one way.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let end = text.iter().position(|byte| *byte == b';').unwrap_or(text.len());
        let value = text[..end].trim_ascii().to_ascii_lowercase();
        let mut rest = &text[end..];
        let mut parameters = Vec::new();
        loop {
            rest = rest.trim_ascii_start();
            if rest.is_empty() {
                return Some(Self { value, parameters });
            }
            rest = rest.strip_prefix(b";")?.trim_ascii_start();
            if rest.is_empty() || rest[0] == b';' {
                // An empty parameter is one semicolon too many, which everybody overlooks.
                continue;
            }
            let equals = rest.iter().position(|byte| *byte == b'=')?;
            let name = rest[..equals].to_ascii_lowercase();
            if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
                return None;
            }
            let (value, behind) = parameter_value(&rest[equals + 1..])?;
            parameters.push((name, value));
            rest = behind;
        }
    }

    /// The value of the only parameter of this name.
    pub(crate) fn only(&self, name: &[u8]) -> Option<&[u8]> {
        let mut values = self.parameters.iter().filter(|(own, _)| own == name).map(|(_, value)| value);
        let value = values.next()?;
        values.next().is_none().then_some(value)
    }

    /// The value and all parameters but those of this name, in one form however they were quoted.
    pub(crate) fn without(&self, name: &[u8]) -> Vec<u8> {
        let mut text = self.value.clone();
        for (own, value) in self.parameters.iter().filter(|(own, _)| own != name) {
            text.push(b';');
            text.extend_from_slice(own);
            text.extend_from_slice(b"=\"");
            for byte in value {
                if matches!(byte, b'"' | b'\\') {
                    text.push(b'\\');
                }
                text.push(*byte);
            }
            text.push(b'"');
        }
        text
    }
}

/// A parameter's value, quoted or not, and what comes behind it.
fn parameter_value(text: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let Some(quoted) = text.strip_prefix(b"\"") else {
        let ends = |byte: &u8| matches!(byte, b';' | b' ' | b'\t' | b'"');
        let end = text.iter().position(ends).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_vec(), &text[end..]));
    };
    let mut value = Vec::new();
    let mut bytes = quoted.iter().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return Some((value, &quoted[at + 1..])),
            b'\\' => value.push(*bytes.next()?.1),
            _ => value.push(*byte),
        }
    }
    None
}

/// Whether a byte may stand in a name (RFC 9110, section 5.6.2).
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn without_boundary(text: &str) -> Option<String> {
        let parsed = Parameterised::parse(text.as_bytes())?;
        Some(String::from_utf8(parsed.without(b"boundary")).expect("text"))
    }

    #[test]
    fn quoting_case_and_spaces_make_no_difference() {
        let expected = Some("multipart/form-data;charset=\"utf-8\"".to_owned());
        for text in [
            "multipart/form-data; boundary=x; charset=utf-8",
            "Multipart/Form-Data;charset=\"utf-8\" ; Boundary=\"x y\"",
            " multipart/form-data ;; charset=\"ut\\f-8\";",
        ] {
            assert_eq!(without_boundary(text), expected, "{text}");
        }
    }

    #[test]
    fn only_one_of_a_name_is_taken() {
        let only = |text: &str| Parameterised::parse(text.as_bytes())?.only(b"name").map(<[u8]>::to_vec);
        assert_eq!(only(r#"form-data; name="a\"b"; filename="name=c""#).as_deref(), Some(&b"a\"b"[..]));
        assert_eq!(only("form-data; name=a; name=b"), None);
        assert_eq!(only("form-data; filename=a"), None);
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_not_read() {
        for text in
            ["a; b", "a; =c", "a; b=", "a; b=\"c", "a; b=\"c\\", "a; b=c d=e", "a; b c=d", "a; b=\"c\"d"]
        {
            assert_eq!(Parameterised::parse(text.as_bytes()), None, "{text}");
        }
    }
}
