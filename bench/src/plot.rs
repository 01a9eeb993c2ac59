//! The ratios of a measure as a picture: one bar a row, the floor as a line.

use std::fmt::Write;

/// A row's name and its ratio to the floor.
pub struct Bar {
    pub name: String,
    pub ratio: f64,
}

/// An SVG of its own, light and dark alike.
pub fn svg(title: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.ratio).fold(1.0, f64::max);
    let scale = BARS / (most * 1.05);
    let height = TOP + bars.len() as f64 * ROW + 10.0;
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#808080\"><text x=\"8\" y=\"18\" font-weight=\"bold\">{}</text>\n",
        escaped(&format!("{title}: ours / floor"))
    );
    for (at, bar) in bars.iter().enumerate() {
        let y = TOP + at as f64 * ROW;
        let (text, width) = (y + ROW / 2.0 + 3.0, (bar.ratio * scale).max(1.0));
        // A formatter into a string does not fail.
        let _ = writeln!(
            out,
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{}\" width=\"{width:.1}\" height=\"{}\" fill=\"#4a7ebb\"/>\
             <text x=\"{:.1}\" y=\"{text}\">{:.2}</text>",
            LEFT - 8.0,
            escaped(&bar.name),
            y + 3.0,
            ROW - 6.0,
            LEFT + width + 5.0,
            bar.ratio,
        );
    }
    let floor = LEFT + scale;
    let _ = writeln!(
        out,
        "<line x1=\"{floor:.1}\" y1=\"{}\" x2=\"{floor:.1}\" y2=\"{}\" stroke=\"#c0504d\" stroke-dasharray=\"4 3\"/></svg>",
        TOP - 4.0,
        height - 6.0
    );
    out
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 430.0;
const BARS: f64 = 400.0;
const TOP: f64 = 30.0;
const ROW: f64 = 22.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_ratio() {
        let bar = |name: &str, ratio| Bar { name: name.into(), ratio };
        let picture = svg("a < b", &[bar("as the floor", 1.0), bar("twice & more", 2.0)]);
        assert!(picture.starts_with("<svg") && picture.trim_end().ends_with("</svg>"), "{picture}");
        assert!(
            picture.contains("a &lt; b: ours / floor") && picture.contains("twice &amp; more"),
            "{picture}"
        );
        // 400 wide for 2 and a twentieth.
        assert!(picture.contains("width=\"190.5\"") && picture.contains("width=\"381.0\""), "{picture}");
        assert!(picture.contains("x1=\"620.5\""), "{picture}");
    }
}
