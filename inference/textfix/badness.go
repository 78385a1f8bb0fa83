package textfix

import (
	"strings"
	"sync"
	"unicode"
)

// kind is a set of kinds of characters that matter for whether text is mojibake.
type kind uint32

const (
	common kind = 1 << iota
	c1
	bad // almost only in mojibake
	law
	currency
	startPunctuation
	endPunctuation
	numeric
	kaomoji // letters that faces are made of
	upperAccented
	lowerAccented
	upperCommon
	lowerCommon
	box
	asciiUpper
	asciiLower
	blank
	word
	inLine // anything but a line break
	notASCIILetter

	accented    = upperAccented | lowerAccented
	asciiLetter = asciiUpper | asciiLower
	punctuation = startPunctuation | endPunctuation
)

// kindMembers lists the characters of each kind; a dash makes a range.
var kindMembers = map[kind]string{
	common:           "\u00a0\u00ad´·–—―’…",
	c1:               "\u0080-\u009f",
	bad:              "¤¦¨ª¬¯¸ºƒˆˇ˘˛˜†‡‰⌐◊\ufffd",
	law:              "§¶",
	currency:         "¢£¥₧€",
	startPunctuation: "¡©«¿΄΅‘‚“„•‹\uf8ff",
	endPunctuation:   "®»˝”›™",
	numeric:          "±²³µ¹¼½¾×÷⁄№∂∆∏∑√∞∩∫≈≠≡≤≥",
	kaomoji:          "°Ò-ÖÙ-Üò-öø-üŌŐŪŲ",
	upperAccented:    "À-ÑØÜÝĀĂĄĆČĎĐĒĖĘĚĞĢĪİĶĹĻĽŁŃŅŇŒŘŚŞŠŢŤŮŰŸŹŻŽҐ",
	lowerAccented:    "ß-ñüāăąćčďđēėęěğģīįķĺļľłœŕśşšťźżžґﬁﬂ",
	upperCommon:      "ÞΆΈ-ΊΌΎΏΑ-ΫЁ-Я",
	lowerCommon:      "ά-ωа-џ",
	box:              "│┌┐┘├┤┬┼═-╬▀▄█▌▐-▓",
}

var kindTable = sync.OnceValue(func() map[rune]kind {
	table := map[rune]kind{}
	for k, members := range kindMembers {
		runes := []rune(members)
		for i := 0; i < len(runes); i++ {
			first, last := runes[i], runes[i]
			if i+2 < len(runes) && runes[i+1] == '-' {
				last = runes[i+2]
				i += 2
			}
			for r := first; r <= last; r++ {
				table[r] |= k
			}
		}
	}
	return table
})

func kindsOf(r rune) kind {
	k := inLine | notASCIILetter
	switch {
	case r == '\n':
		return notASCIILetter | blank
	case 'a' <= r && r <= 'z':
		return inLine | asciiLower | word
	case 'A' <= r && r <= 'Z':
		return inLine | asciiUpper | word
	case unicode.IsSpace(r), 0x1c <= r && r <= 0x1f:
		k |= blank
	case r == '_' || unicode.IsLetter(r) || unicode.IsNumber(r):
		k |= word
	}
	return k | kindTable()[r]
}

// class matches one character: one of some kinds, or one of a few others.
type class struct {
	kinds kind
	also  string
}

// garbled lists sequences that are rare in text and common in mojibake. Kinds and
// sequences are those of ftfy's heuristic (ftfy 6.3.1, Apache License 2.0, Robyn Speer).
var garbled = [][]class{
	{{c1, ""}},
	{{bad | accented | box | punctuation | currency | numeric | law, ""}, {bad, ""}},
	{{asciiLetter, ""}, {lowerCommon | upperCommon, ""}, {bad, ""}},
	{{bad, ""}, {accented | box | punctuation | currency | numeric | law, ""}},
	{{lowerAccented | lowerCommon | box | endPunctuation | currency | numeric, ""}, {upperAccented, ""}},
	{{box | endPunctuation | currency | numeric, ""}, {lowerAccented, ""}},
	{{lowerAccented | box | endPunctuation, ""}, {currency, ""}},
	{{blank, ""}, {upperAccented, ""}, {currency, ""}},
	{{upperAccented | box, ""}, {numeric | law, ""}},
	{{accented | box | currency | endPunctuation, ""}, {startPunctuation, ""}, {numeric, ""}},
	{{accented | currency | numeric | box | law, ""}, {endPunctuation, ""}, {startPunctuation, ""}},
	{{currency | numeric | box, ""}, {startPunctuation, ""}},
	{{asciiLower, ""}, {upperAccented, ""}, {startPunctuation | currency, ""}},
	{{box, ""}, {kaomoji, ""}},
	{{accented | currency | numeric | punctuation | law, ""}, {box, ""}},
	{{box, ""}, {endPunctuation, ""}},
	{{accented, ""}, {punctuation, ""}, {word, ""}},
	{{0, "Œœ"}, {notASCIILetter, ""}},
	{{upperAccented, ""}, {0, "°"}},

	// Windows-1252, Latin letters and Arabic
	{{0, "ÂÃÎÐ"}, {punctuation, "€œŠš¢£Ÿž\u00a0\u00ad®©°·»–—´"}},
	{{0, "×"}, {0, "²³"}},
	{
		{0, "ØÙ"},
		{common | currency | bad | numeric | startPunctuation, "ŸŠ®°µ»"},
		{0, "ØÙ"},
		{common | currency | bad | numeric | startPunctuation, "ŸŠ®°µ»"},
	},
	{{0, "à"}, {0, "²µ¹¼½¾"}},

	// MacRoman
	{{0, "√"}, {0, "±∂†≠®™´≤≥¥µø"}},
	{{0, "≈"}, {0, "°¢"}},
	{{0, "‚"}, {0, "Ä"}, {0, "ìîïòôúùû†°¢π"}},
	{{0, "‚"}, {0, "âó"}, {0, "àä°ê"}},

	// Windows-1251
	{{0, "в"}, {0, "Ђ"}},
	{{0, "ВГРС"}, {c1 | bad | punctuation | currency, "°µ"}, {0, "ВГРС"}},
	{{0, "Г"}, {0, "ў"}, {0, "В"}, {0, "Ђ"}, {0, "В"}, {inLine, ""}, {asciiLetter, " "}},

	// à, á and the no-break space in Windows-1252
	{{0, "Ã"}, {0, "\u00a0¡"}},
	{{asciiLower, ""}, {0, "ÃÂ"}, {0, " "}},
	{{asciiLower, ""}, {blank, ""}, {0, "ÃÂ"}, {0, " "}},
	{{asciiLower | endPunctuation, ".,?!"}, {0, "Â"}, {punctuation, " "}},

	// Windows-1253 and Windows-1257
	{{0, "β"}, {0, "€"}, {0, "™\u00a0Ά\u00ad®°"}},
	{{0, "ΒΓΞΟ"}, {c1 | bad | punctuation | currency, "°"}, {0, "ΒΓΞΟ"}},
	{{0, "ā"}, {0, "€"}},
}

// looksGarbled reports whether text contains a sequence that hints at mojibake.
func looksGarbled(text string) bool {
	if isASCII(text) {
		return false
	}
	if strings.HasPrefix(text, "Ã ") || strings.HasPrefix(text, "Â ") {
		return true
	}
	runes := []rune(text)
	kinds := make([]kind, len(runes))
	for i, r := range runes {
		kinds[i] = kindsOf(r)
	}
	for i := range runes {
		for _, sequence := range garbled {
			if matchesAt(sequence, runes[i:], kinds[i:]) {
				return true
			}
		}
	}
	return false
}

func matchesAt(sequence []class, runes []rune, kinds []kind) bool {
	if len(sequence) > len(runes) {
		return false
	}
	for i, c := range sequence {
		if c.kinds&kinds[i] == 0 && (c.also == "" || !strings.ContainsRune(c.also, runes[i])) {
			return false
		}
	}
	return true
}

func isASCII(text string) bool {
	return strings.IndexFunc(text, func(r rune) bool { return r > unicode.MaxASCII }) < 0
}
