package failover

import "strings"

// flowEnd finds the end of what is written within brackets: given the offset of the opening bracket it
// returns that of the closing one, and the offset behind the last thing before that, comments and white
// space left out. It knows quotes and comments; whether the text is YAML at all is not its business.
func flowEnd(text string, open int) (last, closing int, ok bool) {
	depth := 0
	// Quotes begin a quoted scalar only where a scalar may begin: in it's they are letters.
	fresh := false
	for i := open; i < len(text); i++ {
		switch c := text[i]; c {
		case ' ', '\t', '\r', '\n':
			continue
		case '#':
			if fresh || strings.IndexByte(" \t\r\n", text[i-1]) >= 0 {
				length := strings.IndexByte(text[i:], '\n')
				if length < 0 {
					return 0, 0, false
				}
				i += length
				continue
			}
		case '[', '{':
			depth++
			fresh = true
		case ']', '}':
			if depth--; depth == 0 {
				return last, i, true
			}
			fresh = false
		case ',':
			fresh = true
		case ':':
			quoted := strings.IndexByte(`"'`, text[i-1]) >= 0
			fresh = quoted || i+1 < len(text) && strings.IndexByte(" \t\r\n,[]{}", text[i+1]) >= 0
		case '"', '\'':
			if fresh {
				length := quotedLength(text[i:])
				if length == 0 {
					return 0, 0, false
				}
				i += length - 1
			}
			fresh = false
		default:
			fresh = false
		}
		last = i + 1
	}
	return 0, 0, false
}

// quotedLength is the length of a quoted scalar, 0 if it does not end.
func quotedLength(text string) int {
	quote := text[0]
	for i := 1; i < len(text); i++ {
		switch {
		case text[i] == '\\' && quote == '"':
			i++
		case text[i] != quote:
		case quote == '\'' && i+1 < len(text) && text[i+1] == quote:
			i++
		default:
			return i + 1
		}
	}
	return 0
}
