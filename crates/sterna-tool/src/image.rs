//! What an image is and how large, from its first bytes. Nothing is decoded: a picture is for the model to look at.

/// An image of a kind that models take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Image {
    /// `image/png`, `image/jpeg`, `image/gif` or `image/webp`.
    pub media_type: &'static str,
    pub width: u32,
    pub height: u32,
}

impl Image {
    /// Bytes of one: what the strictest provider takes.
    pub const MAX_BYTES: u64 = 5 << 20;
    /// Pixels of one side: the same.
    pub const MAX_SIDE: u32 = 8_000;

    /// The image that these bytes are; `None` when they are none, or one whose header is damaged. Looks at no byte twice.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let read: [(&'static str, fn(&[u8]) -> Option<(u32, u32)>); 4] =
            [("image/png", png), ("image/jpeg", jpeg), ("image/gif", gif), ("image/webp", webp)];
        let (media_type, (width, height)) =
            read.into_iter().find_map(|(media_type, size)| Some((media_type, size(bytes)?)))?;
        (width > 0 && height > 0).then_some(Self { media_type, width, height })
    }

    /// No side has more pixels than every provider takes.
    pub fn is_small(self) -> bool {
        self.width <= Self::MAX_SIDE && self.height <= Self::MAX_SIDE
    }
}

/// The signature, then the chunk `IHDR`: width and height.
fn png(bytes: &[u8]) -> Option<(u32, u32)> {
    let header = bytes.strip_prefix(b"\x89PNG\r\n\x1a\n")?;
    (header.get(4..8)? == b"IHDR").then_some(())?;
    Some((be32(header, 8)?, be32(header, 12)?))
}

/// The screen's size, which frames lie in.
fn gif(bytes: &[u8]) -> Option<(u32, u32)> {
    let rest = bytes.strip_prefix(b"GIF87a").or_else(|| bytes.strip_prefix(b"GIF89a"))?;
    Some((le16(rest, 0)?, le16(rest, 2)?))
}

/// Segments up to the first frame header. Each says how long it is.
fn jpeg(bytes: &[u8]) -> Option<(u32, u32)> {
    (bytes.get(..3)? == b"\xff\xd8\xff").then_some(())?;
    let mut at = 2;
    loop {
        (*bytes.get(at)? == 0xff).then_some(())?;
        match *bytes.get(at + 1)? {
            // Fill bytes.
            0xff => at += 1,
            // Without a length.
            0x01 | 0xd0..=0xd7 => at += 2,
            // Frame headers; the three that are left out define tables.
            0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf => {
                return Some((be16(bytes, at + 7)?, be16(bytes, at + 5)?));
            }
            // The image's data begin, or it ends: there was no frame.
            0xd8..=0xda => return None,
            _ => {
                let length = be16(bytes, at + 2)? as usize;
                (length >= 2).then_some(())?;
                at += 2 + length;
            }
        }
    }
}

/// A RIFF file of the form `WEBP`, whose first chunk is one of three.
fn webp(bytes: &[u8]) -> Option<(u32, u32)> {
    let rest = bytes.strip_prefix(b"RIFF")?;
    (rest.get(4..8)? == b"WEBP").then_some(())?;
    let data = rest.get(16..)?;
    match rest.get(8..12)? {
        // The canvas, each side less one.
        b"VP8X" => Some((le24(data, 4)? + 1, le24(data, 7)? + 1)),
        // Lossy: after the tag of a frame its start code, then 14 bits each.
        b"VP8 " => {
            (data.get(3..6)? == b"\x9d\x01\x2a").then_some(())?;
            Some((le16(data, 6)? & 0x3fff, le16(data, 8)? & 0x3fff))
        }
        // Lossless: a signature, then 14 bits each, less one.
        b"VP8L" => {
            (*data.first()? == 0x2f).then_some(())?;
            let bits = u32::from_le_bytes(data.get(1..5)?.try_into().ok()?);
            Some(((bits & 0x3fff) + 1, ((bits >> 14) & 0x3fff) + 1))
        }
        _ => None,
    }
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn le16(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

fn le24(bytes: &[u8], at: usize) -> Option<u32> {
    let [a, b, c] = bytes.get(at..at + 3)?.try_into().ok()?;
    Some(u32::from_le_bytes([a, b, c, 0]))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A whole PNG image of one black pixel.
    const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\0\0\0\0\x3a\x7e\x9b\x55\
        \0\0\0\nIDAT\x78\x9c\x63\x60\0\0\0\x02\0\x01\x48\xaf\xa4\x71\0\0\0\0IEND\xae\x42\x60\x82";

    #[test]
    fn headers_say_what_and_how_large() {
        let jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc2\0\x0b\x08\x01\x02\x03\x04\x01\x01\x11\0";
        let far = b"\xff\xd8\xff\xfe\xff\xff\xff\xc0";
        let lossy = b"RIFF\x1a\0\0\0WEBPVP8 \x0e\0\0\0\x30\x01\0\x9d\x01\x2a\x80\x02\xe0\x41";
        let lossless = b"RIFF\x1a\0\0\0WEBPVP8L\x0e\0\0\0\x2f\x0f\xc0\x07\0";
        let canvas = b"RIFF\x1a\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0\xff\x07\0\0\0\x01";
        for (bytes, expected) in [
            (PIXEL, Some(("image/png", 1, 1))),
            (jpeg.as_slice(), Some(("image/jpeg", 0x304, 0x102))),
            (b"GIF89a\x40\x01\xf0\0\0\0\0", Some(("image/gif", 320, 240))),
            (lossy, Some(("image/webp", 640, 480))),
            (lossless, Some(("image/webp", 16, 32))),
            (canvas, Some(("image/webp", 2048, 65_537))),
            // Without a size, cut, of another kind.
            (b"GIF89a\0\0\xf0\0", None),
            (&PIXEL[..20], None),
            (far, None),
            (b"\xff\xd8\xff\xe0\0\x01\xff\xc0", None),
            (b"RIFF\x1a\0\0\0WAVEfmt ", None),
            (b"<svg/>", None),
            (b"", None),
        ] {
            let found = Image::of(bytes).map(|found| (found.media_type, found.width, found.height));
            assert_eq!(found, expected, "{}", bytes.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn whatever_follows_a_signature_is_an_answer(
            kind in prop::sample::select(vec![&b"\x89PNG\r\n\x1a\n"[..], b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8X", b"RIFF\0\0\0\0WEBPVP8 ", b"RIFF\0\0\0\0WEBPVP8L"]),
            rest in prop::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = Image::of(&[kind, &rest].concat());
        }
    }
}
