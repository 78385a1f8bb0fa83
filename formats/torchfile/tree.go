package torchfile

import "fmt"

// wrappers are the keys under which programs store the dictionary of tensors:
// trainers of checkpoints, ESRGAN (the averaged weights first), embeddings.
var wrappers = []string{"state_dict", "params_ema", "params-ema", "params", "string_to_param", "model_state_dict", "model", "module", "net"}

// EmbeddingKey is the name that the vectors of a textual inversion get, as in
// safetensors files, instead of the placeholder that they had in training.
const EmbeddingKey = "emb_params"

// choose finds the dictionary of tensors in what the file holds.
func choose(root any) (*dict, error) {
	d, ok := asDict(root)
	if !ok {
		return nil, malformed("it holds a Python object and not a dictionary of tensors")
	}
	for _, key := range []string{"ema", "model"} { // what a trainer keeps of a model as a whole
		if v, ok := d.get(key); ok {
			if tree := moduleTree(v); tree.tensors() > 0 {
				return tree, nil
			}
		}
	}
	if tree := hypernetTree(d); tree.tensors() > 0 {
		return tree, nil
	}
	if tree := adapterTree(d); tree.tensors() > 0 {
		return tree, nil
	}
	return unwrap(d, 0), nil
}

// adapterTree lists the tensors of an IP-Adapter, a dictionary of two dictionaries, by the
// names that safetensors files have: "ip_adapter.1.to_k_ip.weight".
func adapterTree(d *dict) *dict {
	out := &dict{}
	for _, key := range []string{"image_proj", "ip_adapter"} {
		v, _ := d.get(key)
		inner, ok := asDict(v)
		if !ok {
			return &dict{}
		}
		for i, k := range inner.keys {
			if name, ok := k.(string); ok {
				out.set(key+"."+name, inner.values[i])
			}
		}
	}
	return out
}

// hypernetTree lists the tensors of a hypernetwork, a dictionary of pairs of
// dictionaries by whole numbers: names are "768.0.linear.0.weight".
func hypernetTree(d *dict) *dict {
	out := &dict{}
	for i, k := range d.keys {
		size, ok := k.(int64)
		if !ok {
			continue
		}
		var pair []any
		switch v := d.values[i].(type) {
		case tuple:
			pair = v
		case *list:
			pair = v.items
		}
		for part, v := range pair {
			inner, ok := asDict(v)
			if !ok || part > 1 {
				continue
			}
			for i, k := range inner.keys {
				if name, ok := k.(string); ok {
					out.set(fmt.Sprintf("%d.%d.%s", size, part, name), inner.values[i])
				}
			}
		}
	}
	return out
}

// moduleTree lists the tensors of a torch.nn.Module that was stored as an object, by
// the names that its state_dict has.
func moduleTree(v any) *dict {
	out := &dict{}
	budget := maxTensors
	var walk func(v any, prefix string, depth int)
	walk = func(v any, prefix string, depth int) {
		o, ok := v.(*object)
		if budget--; !ok || budget < 0 || depth > maxModules {
			return
		}
		state, ok := asDict(o.state)
		if !ok {
			return
		}
		for _, key := range []string{"_parameters", "_buffers"} {
			inner, _ := state.get(key)
			if d, ok := asDict(inner); ok {
				for i, k := range d.keys {
					if name, ok := k.(string); ok {
						out.set(prefix+name, d.values[i])
					}
				}
			}
		}
		inner, _ := state.get("_modules")
		if d, ok := asDict(inner); ok {
			for i, k := range d.keys {
				if name, ok := k.(string); ok {
					walk(d.values[i], prefix+name+".", depth+1)
				}
			}
		}
	}
	walk(v, "", 0)
	return out
}

// unwrap looks for the dictionary of tensors under the known keys, also for one
// wrapped twice.
func unwrap(d *dict, depth int) *dict {
	for _, key := range wrappers {
		v, ok := d.get(key)
		if !ok {
			continue
		}
		inner, ok := parameters(v)
		if !ok {
			continue
		}
		if key == "string_to_param" && len(inner.values) == 1 {
			return &dict{keys: []any{EmbeddingKey}, values: inner.values}
		}
		if inner.tensors() == 0 {
			if depth == maxDepth || d.tensors() > 0 {
				continue
			}
			if inner = unwrap(inner, depth+1); inner.tensors() == 0 {
				continue
			}
		}
		return inner
	}
	return d
}

// tensors counts the tensors right inside.
func (d *dict) tensors() int {
	n := 0
	for _, v := range d.values {
		if _, ok := v.(tensor); ok {
			n++
		}
	}
	return n
}

// parameters takes a dictionary, or PyTorch's ParameterDict, which is an object
// that keeps one in its state.
func parameters(v any) (*dict, bool) {
	if d, ok := asDict(v); ok {
		return d, true
	}
	o, ok := v.(*object)
	if !ok {
		return nil, false
	}
	state, ok := asDict(o.state)
	if !ok {
		return nil, false
	}
	inner, ok := state.get("_parameters")
	if !ok {
		return nil, false
	}
	return asDict(inner)
}

// maxDepth bounds how deep a tree is searched; a pickle can be as deep as it is
// long, or contain itself.
const maxDepth = 6

// maxModules bounds how deep modules lie in each other.
const maxModules = 24
