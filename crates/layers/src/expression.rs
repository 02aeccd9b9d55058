//! Expressions in a config, written in CEL, the Common Expression Language: read once, with what they may ask about known
//! beforehand.

use std::{collections::HashMap, fmt, sync::Arc};

use cel::{
    Context, Env, Program, Value,
    common::ast::{EntryExpr, Expr, IdedExpr},
};
use http::HeaderMap;

/// An expression that was read.
#[derive(Clone)]
pub struct Expression {
    text: Arc<str>,
    program: Arc<Program>,
    asked: Arc<[String]>,
}

/// A text is not an expression that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidExpression {
    /// It is no CEL.
    #[error("{0}")]
    Syntax(String),
    /// It asks about something that there is not.
    #[error("there is no `{0}` to ask about")]
    Unknown(String),
}

impl Expression {
    /// Reads an expression that may ask about `variables`.
    ///
    /// # Errors
    /// [`InvalidExpression`] says what is wrong with it.
    pub fn new(text: &str, variables: &[&str]) -> Result<Self, InvalidExpression> {
        let program = Program::compile(text).map_err(|errors| {
            let first = errors.errors.first();
            let told = first.map_or_else(String::new, |error| {
                format!("column {}: {}", error.pos.1, error.msg.lines().next().unwrap_or_default())
            });
            InvalidExpression::Syntax(told)
        })?;
        let mut asked = Vec::new();
        free_names(program.expression(), &mut Vec::new(), &mut asked);
        if let Some(unknown) = asked.iter().find(|name| !variables.contains(&name.as_str())) {
            return Err(InvalidExpression::Unknown(unknown.clone()));
        }
        Ok(Self { text: text.into(), program: Arc::new(program), asked: asked.into() })
    }

    /// As it is written.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether it asks about `variable`.
    #[must_use]
    pub fn asks_about(&self, variable: &str) -> bool {
        self.asked.iter().any(|name| name == variable)
    }

    /// What it comes to; nothing where it asks about what is not there.
    #[must_use]
    pub fn value(&self, context: &Context<'_, '_>) -> Option<Value> {
        self.program.execute(context).ok()
    }
}

/// What expressions are evaluated in: the functions that CEL has, and no variables yet.
#[must_use]
pub fn expression_context(env: &Arc<Env>) -> Context<'static, 'static> {
    Context::with_env(Arc::clone(env))
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Expression {}

impl fmt::Debug for Expression {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, formatter)
    }
}

/// Header fields as expressions see them: by name in lower case, several of one name joined by commas.
#[must_use]
pub fn headers_value(headers: &HeaderMap) -> Value {
    let mut fields: HashMap<String, String> = HashMap::with_capacity(headers.keys_len());
    for (name, value) in headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        fields
            .entry(name.as_str().to_owned())
            .and_modify(|before| {
                before.push_str(", ");
                before.push_str(&value);
            })
            .or_insert_with(|| value.clone().into_owned());
    }
    fields.into()
}

/// The names in an expression that it does not define itself, as `x` in `list.exists(x, x > 1)` is.
fn free_names(expression: &IdedExpr, bound: &mut Vec<String>, found: &mut Vec<String>) {
    let mut all = |expressions: &mut dyn Iterator<Item = &IdedExpr>, bound: &mut Vec<String>| {
        expressions.for_each(|inner| free_names(inner, bound, found));
    };
    match &expression.expr {
        Expr::Unspecified | Expr::Literal(_) => {}
        Expr::Ident(name) => {
            if !name.starts_with('@') && !bound.contains(name) {
                found.push(name.clone());
            }
        }
        Expr::Call(call) => all(&mut call.target.as_deref().into_iter().chain(&call.args), bound),
        Expr::Select(select) => all(&mut std::iter::once(&*select.operand), bound),
        Expr::List(list) => all(&mut list.elements.iter(), bound),
        Expr::Map(map) => all(&mut map.entries.iter().flat_map(|entry| parts_of(&entry.expr)), bound),
        Expr::Struct(made) => all(&mut made.entries.iter().flat_map(|entry| parts_of(&entry.expr)), bound),
        Expr::Comprehension(inner) => {
            all(&mut [&inner.iter_range, &inner.accu_init].into_iter(), bound);
            let outside = bound.len();
            bound.extend([inner.iter_var.clone(), inner.accu_var.clone()]);
            bound.extend(inner.iter_var2.clone());
            all(&mut [&inner.loop_cond, &inner.loop_step, &inner.result].into_iter(), bound);
            bound.truncate(outside);
        }
    }
}

fn parts_of(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}
