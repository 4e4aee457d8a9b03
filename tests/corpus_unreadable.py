"""Bodies in which no reading finds a payload, for the corpus."""

from tests.corpus_lenient import quoted


def unreadable_bodies() -> dict[str, bytes]:
    """Return bodies by what they are. They come as `application/json`."""
    wrapped_too_often = b"{}"
    for _ in range(4):
        wrapped_too_often = quoted(wrapped_too_often)
    return {
        "a string in strings in strings": wrapped_too_often,
        "nothing": b"",
        "blanks only": b" \r\n",
        "a byte order mark only": b"\xef\xbb\xbf",
        "two byte order marks": b"\xef\xbb\xbf\xef\xbb\xbf{}",
        "an array": b"[]",
        "a string": b'"x"',
        "null": b"null",
        "a number": b"1",
        "text": b"hello",
        "an unclosed object": b'{"email":"a"',
        "an unclosed string": b'{"email":"a',
        "a comment": b'{"email":"a"/* why */}',
        "a trailing comma": b'{"email":"a",}',
        "a leading comma": b'{,"email":"a"}',
        "no colon": b'{"email" "a"}',
        "an unquoted name": b'{email:"a"}',
        "single quotes": b"{'email':'a'}",
        "trailing garbage": b'{"email":"a"}x',
        "two objects": b'{"email":"a"}{"email":"b"}',
        "a raw NUL": b'{"email":"a\x00b"}',
        "an array of two leads": b'[{"email":"a"},{"email":"b"}]',
        "an array in an array": b'[[{"email":"a"}]]',
        "an array of one and a comma": b'[{"email":"a"},]',
        "a string of text": b'"email"',
        "an unclosed string of JSON": b'"{\\"email\\":\\"a\\"}',
        "a raw line break and a trailing comma": b'{"email":"a\nb",}',
        "a raw vertical tab": b'{"email":"a\x0bb"}',
        "a form of no lead": b"a=b&x=y",
        "a URL": b"https://example.com/?email=a&phone=b",
        "markup": b"<a href='x'>&email=b</a>",
        "a sentence": b"Write to us: email = a, phone = b",
        "a bad escape": b'{"email":"\\x41"}',
        "a cut escape": b'{"email":"\\u00"}',
        "no-break space as blank": b'{"email":\xc2\xa0"a"}',
        "a leading zero": b'{"phone":0371}',
        "a plus sign": b'{"phone":+371}',
        "a bare point": b'{"phone":1.}',
        "hexadecimal": b'{"phone":0x10}',
        "a non-ASCII digit": '{"phone":1\u0661}'.encode(),
        "NaN": b'{"phone":NaN}',
        "Infinity": b'{"phone":Infinity}',
        "minus Infinity": b'{"x":[-Infinity],"email":"a"}',
        "invalid UTF-8": b'{"email":"caf\xe9"}',
        "an encoded surrogate": b'{"email":"\xed\xa0\x80"}',
        "an overlong encoding": b'{"email":"\xc0\x80"}',
        "UTF-16 with a mark": '{"email":"a"}'.encode("utf-16"),
        "UTF-16 without a mark": '{"email":"a"}'.encode("utf-16-be"),
        "UTF-32": '{"email":"a"}'.encode("utf-32"),
    }
