// Purpose: who gets which first view. The shop and the planner share this one rule: a hash of the visitor id, equal chances.
export function variantOf(visitorId) {
  let hash = 2166136261
  for (const char of `top_first_view:${visitorId}`) hash = Math.imul(hash ^ char.charCodeAt(0), 16777619) >>> 0
  hash = Math.imul(hash ^ (hash >>> 15), 2246822507) >>> 0 // FNV alone has a weak last bit
  return (hash >>> 16) & 1 ? 'B' : 'A'
}
