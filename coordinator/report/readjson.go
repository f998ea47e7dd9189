package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/loadline/loadline/proto/loadline/v1"
)

// ReadJSON reads what WriteJSON wrote, and nothing else: a field that the schema does not have,
// one that stands twice, a value of another type and anything after the end are errors, with the
// path of the place. A field that is left out has no value. It reads at most MaxSummary bytes.
func ReadJSON(r io.Reader) (*pb.Summary, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxSummary+1))
	if err != nil {
		return nil, fmt.Errorf("read a summary: %w", err)
	}
	if len(data) > MaxSummary {
		return nil, fmt.Errorf("read a summary: it is larger than %d MiB", MaxSummary>>20)
	}
	s := &pb.Summary{}
	d := decoder{json.NewDecoder(bytes.NewReader(data))}
	d.UseNumber()
	if err := d.document(s.ProtoReflect()); err != nil {
		return nil, fmt.Errorf("read a summary: %w", err)
	}
	return s, nil
}

type decoder struct{ *json.Decoder }

// next is the next token of a text that goes on.
func (d decoder) next() (json.Token, error) {
	t, err := d.Token()
	if errors.Is(err, io.EOF) {
		err = errors.New("it ends in the middle")
	}
	return t, err
}

// place is an error with the path of the field it is about.
type place struct {
	path string
	err  error
}

func (p *place) Error() string { return p.path + ": " + p.err.Error() }
func (p *place) Unwrap() error { return p.err }

// within puts a step before the path of an error.
func within(step string, err error) error {
	var p *place
	if errors.As(err, &p) {
		if p.path[0] != '[' {
			step += "."
		}
		return &place{step + p.path, p.err}
	}
	return &place{step, err}
}

func (d decoder) document(m protoreflect.Message) error {
	t, err := d.next()
	if err != nil {
		return err
	}
	if err := d.message(t, m); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows its end")
	}
	return nil
}

// message reads an object whose first token is t.
func (d decoder) message(t json.Token, m protoreflect.Message) error {
	if t != json.Delim('{') {
		return fmt.Errorf("expected an object, found %s", found(t))
	}
	seen := make(map[string]bool)
	for d.More() {
		t, err := d.next()
		if err != nil {
			return err
		}
		name, _ := t.(string) // the library accepts nothing but strings here
		f := m.Descriptor().Fields().ByName(protoreflect.Name(name))
		switch {
		case f == nil:
			return within(strconv.Quote(name), errors.New("there is no such field"))
		case seen[name]:
			return within(name, errors.New("it stands there twice"))
		}
		seen[name] = true
		if err := d.field(m, f); err != nil {
			return within(name, err)
		}
	}
	_, err := d.next()
	return err
}

func (d decoder) field(m protoreflect.Message, f protoreflect.FieldDescriptor) error {
	t, err := d.next()
	if err != nil {
		return err
	}
	switch {
	case f.IsList():
		return d.list(t, m.Mutable(f).List(), f)
	case f.Message() != nil && t != nil:
		return d.message(t, m.Mutable(f).Message())
	case t == nil && (f.HasPresence() || f.Kind() == protoreflect.DoubleKind):
		return nil
	}
	v, err := scalar(t, f)
	if err == nil {
		m.Set(f, v)
	}
	return err
}

func (d decoder) list(t json.Token, l protoreflect.List, f protoreflect.FieldDescriptor) error {
	if t != json.Delim('[') {
		return fmt.Errorf("expected a list, found %s", found(t))
	}
	for d.More() {
		if err := d.element(l, f); err != nil {
			return within(fmt.Sprintf("[%d]", l.Len()), err)
		}
	}
	_, err := d.next()
	return err
}

func (d decoder) element(l protoreflect.List, f protoreflect.FieldDescriptor) error {
	t, err := d.next()
	if err != nil {
		return err
	}
	if f.Message() == nil {
		v, err := scalar(t, f)
		if err == nil {
			l.Append(v)
		}
		return err
	}
	v := l.NewElement()
	if err := d.message(t, v.Message()); err != nil {
		return err
	}
	l.Append(v)
	return nil
}

// scalar turns a token into a value of the field's type.
func scalar(t json.Token, f protoreflect.FieldDescriptor) (protoreflect.Value, error) {
	wrong := fmt.Errorf("expected a %s, found %s", kindName(f), found(t))
	switch f.Kind() {
	case protoreflect.BoolKind:
		if b, ok := t.(bool); ok {
			return protoreflect.ValueOfBool(b), nil
		}
	case protoreflect.StringKind:
		if s, ok := t.(string); ok {
			return protoreflect.ValueOfString(s), nil
		}
	case protoreflect.EnumKind:
		if s, ok := t.(string); ok {
			return chosen(s, f.Enum())
		}
	default:
		if n, ok := t.(json.Number); ok {
			return number(n.String(), f, wrong)
		}
	}
	return protoreflect.Value{}, wrong
}

func chosen(s string, d protoreflect.EnumDescriptor) (protoreflect.Value, error) {
	for i := range d.Values().Len() {
		if v := d.Values().Get(i); shortName(d, v) == s {
			return protoreflect.ValueOfEnum(v.Number()), nil
		}
	}
	return protoreflect.Value{}, fmt.Errorf("%q is none of its choices", s)
}

func number(s string, f protoreflect.FieldDescriptor, wrong error) (protoreflect.Value, error) {
	switch f.Kind() {
	case protoreflect.Uint32Kind:
		if v, err := strconv.ParseUint(s, 10, 32); err == nil {
			return protoreflect.ValueOfUint32(uint32(v)), nil
		}
	case protoreflect.Uint64Kind:
		if v, err := strconv.ParseUint(s, 10, 64); err == nil {
			return protoreflect.ValueOfUint64(v), nil
		}
	case protoreflect.DoubleKind:
		if v, err := strconv.ParseFloat(s, 64); err == nil && !math.IsInf(v, 0) {
			return protoreflect.ValueOfFloat64(v), nil
		}
	}
	return protoreflect.Value{}, wrong
}

func kindName(f protoreflect.FieldDescriptor) string {
	switch f.Kind() {
	case protoreflect.BoolKind:
		return "true or false"
	case protoreflect.StringKind, protoreflect.EnumKind:
		return "text"
	case protoreflect.DoubleKind:
		return "number"
	default:
		return "whole number"
	}
}

// found says what stood there instead.
func found(t json.Token) string {
	switch v := t.(type) {
	case nil:
		return "null"
	case json.Delim:
		return strconv.Quote(v.String())
	case string:
		return "text"
	case json.Number:
		return "the number " + v.String()
	default:
		return fmt.Sprint(v)
	}
}
