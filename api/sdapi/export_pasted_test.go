package sdapi

// ToldKeys are the keys that the tables of scripts have for infotexts.
func ToldKeys() []string {
	var keys []string
	for _, s := range toldScripts {
		for _, t := range s.texts {
			keys = append(keys, t.key)
		}
	}
	for _, s := range toldSelected {
		for _, t := range s.texts {
			keys = append(keys, t.key)
		}
	}
	for _, f := range detailFields {
		if f.key != "" {
			keys = append(keys, "ADetailer "+f.key)
		}
	}
	return keys
}
