//! A bound on how many elements are decoded. What a sequence's length says is bounded by the bytes that its elements take;
//! but elements such as `()` take none, and then a length of 2^64 - 1 is a loop without end.
//!
//! This is a deserializer around another one that counts the elements of sequences and maps, however deep they lie. Tuples
//! and structs aren't counted: their length is the type's and not the payload's.

use serde::Deserializer;
use serde::de::{DeserializeSeed, EnumAccess, Error, MapAccess, SeqAccess, VariantAccess, Visitor};
use std::cell::Cell;
use std::fmt;
use std::marker::PhantomData;

/// Something of the inner deserializer's, and how many elements may still come.
#[derive(Clone, Copy)]
struct Bounded<'c, T> {
    inner: T,
    left: &'c Cell<usize>,
    /// Elements right in it count.
    counts: bool,
}

/// Decodes a `T` whose sequences have at most so many elements, all together.
pub(super) struct AtMost<'c, T> {
    left: &'c Cell<usize>,
    value: PhantomData<fn() -> T>,
}

impl<'c, T> AtMost<'c, T> {
    pub(super) fn new(left: &'c Cell<usize>) -> AtMost<'c, T> {
        AtMost { left, value: PhantomData }
    }
}

impl<'de, T: serde::Deserialize<'de>> DeserializeSeed<'de> for AtMost<'_, T> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<T, D::Error> {
        T::deserialize(Bounded { inner, left: self.left, counts: false })
    }
}

impl<'c, T> Bounded<'c, T> {
    /// The same bound around something else.
    fn around<U>(&self, inner: U, counts: bool) -> Bounded<'c, U> {
        Bounded { inner, left: self.left, counts }
    }

    fn count<E: Error>(&self) -> Result<(), E> {
        if self.counts {
            let left = self.left.get().checked_sub(1);
            self.left.set(left.ok_or_else(|| E::custom("it has more elements than a payload has bytes"))?);
        }
        Ok(())
    }
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Bounded<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, inner: D) -> Result<S::Value, D::Error> {
        let bounded = self.around((), false);
        self.inner.deserialize(bounded.around(inner, false))
    }
}

/// Methods that take a visitor behind these arguments, whose visit is bounded, too.
macro_rules! pass_on {
    ($($method:ident($($name:ident: $kind:ty),*) $counts:literal;)*) => {
        $(fn $method<V: Visitor<'de>>(self, $($name: $kind,)* visitor: V) -> Result<V::Value, Self::Error> {
            let visitor = self.around(visitor, $counts);
            self.inner.$method($($name,)* visitor)
        })*
    };
}

/// Methods for what has nothing inside.
macro_rules! leave {
    ($($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Self::Error> {
            self.inner.$method(visitor)
        })*
    };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Bounded<'_, D> {
    type Error = D::Error;

    leave! {
        deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128 deserialize_u8
        deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128 deserialize_f32 deserialize_f64 deserialize_char
        deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_identifier
    }

    pass_on! {
        deserialize_seq() true;
        deserialize_map() true;
        deserialize_any() true;
        deserialize_ignored_any() true;
        deserialize_option() false;
        deserialize_unit_struct(name: &'static str) false;
        deserialize_newtype_struct(name: &'static str) false;
        deserialize_tuple(len: usize) false;
        deserialize_tuple_struct(name: &'static str, len: usize) false;
        deserialize_struct(name: &'static str, fields: &'static [&'static str]) false;
        deserialize_enum(name: &'static str, variants: &'static [&'static str]) false;
    }

    fn is_human_readable(&self) -> bool {
        self.inner.is_human_readable()
    }
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Bounded<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.expecting(f)
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_unit()
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.inner.visit_none()
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let inner = self.around(inner, false);
        self.inner.visit_some(inner)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<V::Value, D::Error> {
        let inner = self.around(inner, false);
        self.inner.visit_newtype_struct(inner)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let inner = self.around(inner, self.counts);
        self.inner.visit_seq(inner)
    }

    fn visit_map<A: MapAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let inner = self.around(inner, self.counts);
        self.inner.visit_map(inner)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, inner: A) -> Result<V::Value, A::Error> {
        let inner = self.around(inner, false);
        self.inner.visit_enum(inner)
    }
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let element = self.around(seed, false);
        let element = self.inner.next_element_seed(element)?;
        if element.is_some() {
            self.count()?;
        }
        Ok(element)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let key = self.around(seed, false);
        let key = self.inner.next_key_seed(key)?;
        if key.is_some() {
            self.count()?;
        }
        Ok(key)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let value = self.around(seed, false);
        self.inner.next_value_seed(value)
    }

    fn size_hint(&self) -> Option<usize> {
        self.inner.size_hint()
    }
}

impl<'de, 'c, A: EnumAccess<'de>> EnumAccess<'de> for Bounded<'c, A> {
    type Error = A::Error;
    type Variant = Bounded<'c, A::Variant>;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self::Variant), A::Error> {
        let (bounded, variant) = (self.around((), false), self.around(seed, false));
        let (value, variant) = self.inner.variant_seed(variant)?;
        Ok((value, bounded.around(variant, false)))
    }
}

impl<'de, A: VariantAccess<'de>> VariantAccess<'de> for Bounded<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        self.inner.unit_variant()
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, A::Error> {
        let value = self.around(seed, false);
        self.inner.newtype_variant_seed(value)
    }

    pass_on! {
        tuple_variant(len: usize) false;
        struct_variant(fields: &'static [&'static str]) false;
    }
}
