// Package adapter reads LoRA files of every kind and naming that trainers write
// and merges them into the weights of a Stable Diffusion 1.x checkpoint.
//
// A file holds factors for modules of the network, from which a change of their
// weights is made. [Open] finds out which module each tensor is for and what kind of
// change the tensors of a module make; [Change.Prepare] checks every shape against
// the weight and reads the factors; [Delta.Apply] adds the change to rows of the
// weight. The arithmetic is behind [Math], which has a plain implementation here
// and a fast one in the engine.
//
// With W the weight as [out][in x kernel], dW the change and s the strength of the
// prompt's tag, the kinds are
//
//	LoRA     dW = up down                          arXiv:2106.09685
//	LoCon    dW = up (mid x down), a Tucker core   LyCORIS, arXiv:2309.14859
//	LoHa     dW = (a1 b1) * (a2 b2)                arXiv:2108.06098
//	LoKr     dW = w1 (x) w2                        LyCORIS
//	full     dW = diff
//	GLoRA    dW = W a1 a2 + b1 b2                  arXiv:2306.07967
//	IA3      dW = W * v, by rows or by inputs      arXiv:2205.05638
//	OFT      W' = R^T W in blocks of rows          arXiv:2306.07280
//	BOFT     W' = R_m ... R_1 W, a butterfly       arXiv:2311.06243
//	PEFT     W' = W M^T for its OFT and BOFT, turning inputs; W' = W * l for its IA3
//	stored   W' = the file's weight                  PEFT's modules_to_save
//	others of PEFT are listed in tuners.go
//	DoRA     W' = (W + dW) * scale / |W + dW|      arXiv:2402.09353
//
// and the weight becomes W + s dW, with dW = W' - W where W' is given, as in
// AUTOMATIC1111. dW of LoRA, LoHa, LoKr and GLoRA is multiplied by alpha / rank.
package adapter
